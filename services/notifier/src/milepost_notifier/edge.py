"""The edge: clients on one side, the channels of Redis on the other."""

import asyncio
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, cast
from uuid import UUID

from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from milepost.errors import Unavailable
from milepost.live import Channels, Snapshots, Tickets
from milepost.live.channels import Message
from milepost.live.pulse import Pulse
from milepost.runtime.auth import Authenticator, Principal
from milepost.runtime.keys import KeySource
from milepost.runtime.metrics.catalogue import FRESHNESS, REFUSED
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import TokenExpired
from milepost_notifier.admission import Admission
from milepost_notifier.audit import Audit
from milepost_notifier.connections import Connection, bad_ticket, over_limit, quiet, refusal, ticket_in, too_many
from milepost_notifier.descent import Descent
from milepost_notifier.feeds import Feeds
from milepost_notifier.intents import Descend, Forget, Ignore, Listen, Lookup
from milepost_notifier.limits import Limits
from milepost_notifier.meter import show_clients
from milepost_notifier.peer import Peer
from milepost_notifier.resolver import Ask, Asker, Resolver
from milepost_notifier.session import Session, token_in
from milepost_notifier.tasks import TaskSource
from milepost_notifier.watching import Watching
from milepost_schemas.frames import SUBPROTOCOL

AUDIT_S: Final = 30.0
TICK_S: Final = 0.5
FRAME_MAX: Final = 16 * 1024
BACKLOG: Final = 4096
"""So many may knock at once, as far as the system lets them; whom it turns away tries again seconds later."""
TAKEN_AT_ONCE: Final = 16
"""After so many messages of one client the others have their turn."""
GOODBYES_A_SECOND: Final = 200
"""A drain closes no faster, so that the notifiers that stay are not run over."""
RETURN_WITHIN_MS: Final = 2_000


class Edge:
    """All clients of this process, their sessions, and what is done for these."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        source: TaskSource,
        *,
        keys: KeySource | None = None,
        limits: Limits | None = None,
        audit_every: float = AUDIT_S,
        tick_every: float = TICK_S,
        shared: bool = False,
        traced: bool = False,
    ) -> None:
        """`keys`: where tenants' keys are. `traced`: spans are exported.

        `shared`: others listen on the same port; the system deals clients out.
        """
        self._shared = shared
        self._settings = settings
        self._limits = limits or Limits(subs=settings.max_subscriptions, frames=settings.max_frames_per_second)
        self._audit_every = audit_every
        self._tick_every = tick_every
        self.admission = Admission(settings)
        self._origins = frozenset(settings.allowed_origins)
        self._auth = Authenticator(settings, keys)
        self._auth.ring.on_revoked = self._revoked
        self._tickets = Tickets(redis, self._auth.tokens)
        self._source = source
        self.snapshots = Snapshots(redis)
        self.channels = Channels(redis, self._deliver, self._back)
        self._pulse = Pulse(redis, settings.topic_prefix)
        self._feeds = Feeds(self.channels, self.snapshots, source, self.serve)
        self._resolver = Resolver(self.channels, self.snapshots, source, self._answered)
        self._descent = Descent(source, self._limits.members + 1, self._answered)
        self._connections: set[Peer] = set()
        self.watching = Watching(self.channels, self.serve, self._feeds.deliver, traced=traced)
        self._audit = Audit(self.watching, self.snapshots, source, self._connections, self.serve, audit_every)
        self._draining = False
        self.port = 0

    @property
    def clients(self) -> int:
        """Connections open now, of all kinds."""
        return len(self._connections)

    @property
    def full(self) -> bool:
        """Whether nobody else is let in, now or because this process is about to stop."""
        return self._draining or len(self._connections) >= self._settings.max_connections

    def loops(self) -> tuple[tuple[str, Callable[[], Awaitable[None]]], ...]:
        """Return what has to be kept running."""
        return (
            ("channels", self.channels.run),
            ("pulse", self._hear_pulse),
            ("resolver", self._resolver.run),
            ("descent", self._descent.run),
            ("feeds", self._feeds.run),
            ("filters", self._feeds.look),
            ("ticks", self._ticks),
            ("audit", self._audits),
            ("keys", self._auth.ring.run),
        )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Accept clients inside the block; give the port bound."""
        async with serve(
            self._client,
            self._settings.host,
            self._settings.notifier_port,
            create_connection=cast(
                "type[ServerConnection]", partial(Connection, admission=self.admission, limits=self._limits)
            ),
            process_request=self._request,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            server_header=None,
            open_timeout=self._limits.hello,
            logger=quiet(),
            ping_interval=None,  # the protocol has its own, which browsers can see
            close_timeout=2,
            max_size=FRAME_MAX,
            max_queue=4,
            write_limit=64 * 1024,
            backlog=BACKLOG,
            reuse_port=self._shared,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self.port

    async def drain(self, hurry: asyncio.Event) -> None:
        """Send every client away, paced; at once when `hurry` is set. New ones are refused from now on."""
        self._draining = True
        leaving = list(self._connections)
        random.shuffle(leaving)
        for number, connection in enumerate(leaving, start=1):
            if connection.session is not None:
                connection.session.drain(random.randint(0, RETURN_WITHIN_MS))  # noqa: S311 - spread, not secrecy
                self.serve(connection)
            if number % (GOODBYES_A_SECOND // 10) == 0 and not hurry.is_set():
                await _unless(hurry, 0.1)
        goodbyes = [connection.closing for connection in leaving if connection.closing is not None]
        if goodbyes:
            await asyncio.wait(goodbyes)

    # -- clients

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        refused = await self._refusal(connection, request)
        if refused is not None:
            REFUSED.add(1, str(refused.status_code))
        return refused

    async def _refusal(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Connection)  # noqa: S101 - create_connection says so
        peer, now = connection.remote_address, asyncio.get_running_loop().time()
        detail = connection.visit.come(peer[0] if peer else None, request.headers.get_all("X-Forwarded-For"), now)
        if detail is not None:
            return too_many(connection, detail)
        if self.full:
            return over_limit(connection, 2)
        refused = refusal(connection, request, self._origins)
        ticket = ticket_in(request)
        if refused is not None or ticket is None:
            return refused
        try:
            connection.principal = await self.holder_of(ticket)
        except Unavailable:
            return over_limit(connection, 2)
        return bad_ticket(connection) if connection.principal is None else None

    async def holder_of(self, ticket: str) -> Principal | None:
        """Return whom a ticket lets in, once; None for one that lets nobody in. Raises Unavailable."""
        verified = await self._tickets.redeem(ticket)
        try:
            return None if verified is None else self._auth.watcher(verified)
        except TokenExpired:
            return None

    async def learn(self, token: str) -> None:
        """Have sessions know of a key, if this is one. Raises Unavailable."""
        if self._auth.unseen(token):
            try:
                async with asyncio.timeout(self._limits.hello):
                    await self._auth.learn(token)
            except TimeoutError as error:
                raise Unavailable("Postgres does not answer, where keys are kept. Try again in a moment.") from error

    async def _client(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)  # noqa: S101 - create_connection says so
        loop = asyncio.get_running_loop()
        session = connection.session = self.session(loop.time())
        self.enter(connection)
        if connection.principal is not None:
            session.let_in(connection.principal, loop.time())
            self.count(connection, session)
            self.serve(connection)
        try:
            taken = 0
            async for message in connection:
                taken += 1
                if taken % TAKEN_AT_ONCE == 0:
                    await asyncio.sleep(0)
                if (token := token_in(message)) is not None:
                    await self._meet(session, token)
                session.receive(message, loop.time())
                if connection.visit.tenant is None:
                    self.count(connection, session)
                self.serve(connection)
        except ConnectionClosed:
            pass
        finally:
            self.leave(connection)
            if connection.closing is not None:
                await asyncio.wait([connection.closing])

    async def _meet(self, session: Session, token: str) -> None:
        try:
            await self.learn(token)
        except Unavailable:
            session.unidentified()

    def _revoked(self, keys: frozenset[UUID]) -> None:
        for connection in tuple(self._connections):
            session = connection.session
            if session is not None and session.principal is not None and session.principal.key in keys:
                session.revoked()
                self.serve(connection)

    def session(self, now: float, *, pings: bool = True) -> Session:
        """Return a session that begins; without `pings` for a client that cannot answer them."""
        limits = self._limits if pings else replace(self._limits, ping=math.inf)
        return Session(secrets.token_hex(8), self._auth.principal, now, limits)

    def enter(self, peer: Peer) -> None:
        """Let time pass for a client, and count it."""
        self._connections.add(peer)

    def leave(self, peer: Peer) -> None:
        """Forget a client; its session is over."""
        self._connections.discard(peer)
        session = peer.session
        if session is not None:
            session.lost()
            self._carry_out(peer, session)
            peer.session = None

    def count(self, peer: Peer, session: Session) -> None:
        """Count a client among those of its tenant once it is known, and close on it if it is one too many."""
        if session.principal is None:
            return
        detail = peer.visit.known(session.principal.tenant)
        if detail is not None:
            session.over_limit(detail)

    def _answered(self, who: Asker) -> None:
        self.serve(cast("Peer", who))  # nobody else asks

    def serve(self, connection: Peer) -> None:
        """Carry out what the session wants and send what it has."""
        session = connection.session
        if session is not None:
            if session.intents:
                self._carry_out(connection, session)
            connection.write_out()

    def _carry_out(self, connection: Peer, session: Session) -> None:
        if session.principal is None:
            return
        tenant = session.principal.tenant
        now = asyncio.get_running_loop().time()
        intents = session.intents.copy()
        session.intents.clear()
        for intent in intents:
            match intent:
                case Lookup():
                    self.watching.add((tenant, intent.task), connection, now)
                    self._resolver.ask(Ask(connection, tenant, intent, now))
                case Descend():
                    self._descent.ask((tenant, intent.task), connection, intent.question)
                case Forget():
                    self.watching.remove((tenant, intent.task), connection)
                case Listen(only):
                    self._feeds.join(tenant, only, connection)
                case Ignore(only):
                    self._feeds.leave(tenant, only, connection)

    # -- from Redis

    def _deliver(self, messages: Sequence[Message]) -> None:
        self.watching.tell(messages)
        for channel, message, _ in messages:
            # Events come before the pulse that is about them: their frames are written.
            if channel == self._pulse.name and (happened := Pulse.time_in(message)) is not None:
                FRESHNESS.observe(max(0.0, time.time() - happened))

    async def _hear_pulse(self) -> None:
        """Listen for pulses, until cancelled."""
        with suppress(Unavailable):  # it stays wanted
            await self.channels.watch([self._pulse.channel], timeout=self._audit_every)
        await asyncio.Event().wait()

    def show(self) -> None:
        """Set the gauges of who is connected."""
        show_clients(self._connections)

    # -- time

    async def _ticks(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._tick_every)
            now = loop.time()
            for connection in tuple(self._connections):
                session = connection.session
                # Thousands are idle: what is not due is not even served.
                if session is not None and (now >= session.due or session.stalled):
                    session.tick(now)
                    self.serve(connection)

    async def _back(self) -> None:
        """Make up for what was missed while there was no channel."""
        self._feeds.missed()
        await self.audit()

    async def _audits(self) -> None:
        while True:
            await asyncio.sleep(self._audit_every)
            await self.audit()

    async def audit(self) -> None:
        """Compare every subscription with what is kept (see Audit), and listen to nothing that nobody wants."""
        self.channels.leave_all_but({*self.watching.channels, *self._feeds.channels, self._pulse.channel})
        await self._audit.run()


async def _unless(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
