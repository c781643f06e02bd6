"""The notifier process: its parts put together, its start and its drain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from redis.asyncio import Redis

from milepost.errors import Unavailable
from milepost.live import Snapshots, connect
from milepost.live.pulse import Pulse
from milepost.log import Writer
from milepost.log.membership import expel
from milepost.runtime.health import Health, application, bound, serving
from milepost.runtime.lifecycle import Shutdown, background
from milepost.runtime.loglevels import LogLevel
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics import reading
from milepost.runtime.metrics.exposition import Exposition
from milepost.runtime.metrics.serving import add_refusal, add_route, measuring
from milepost.runtime.settings import Settings
from milepost.runtime.standing import Dependency
from milepost.store import Store, open_pool
from milepost.store.connection import Pool
from milepost.store.keys import Keys
from milepost.store.loglevels import LogLevels
from milepost_notifier import meter
from milepost_notifier.edge import Edge
from milepost_notifier.ingest import Ingest
from milepost_notifier.members import Members
from milepost_notifier.streams import Streams
from milepost_notifier.tally import TALLY

log = get_logger("milepost.notifier")

Role = Literal["all", "ingest", "edge"]
READY_CHECK_S = 1.0
INGEST_STOP_S = 5.0
_WITHOUT_REDIS = "clients stay connected and are shown what Postgres has; live events wait in Kafka"
_WITHOUT_KAFKA = "clients are shown what Redis and Postgres have; new events wait in Kafka"
_WITHOUT_POSTGRES = "tasks that Redis knows are shown live; others cannot be looked up"


class Notifier:
    """Everything one notifier process does. `run` returns after a drain."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        edge: Edge | None,
        source: Store | None,
        ingest: Ingest | None,
        writer: Writer | None,
        *,
        pool: Pool | None = None,
        shared: bool = False,
    ) -> None:
        """`pool` is what `source` asks by."""
        self._settings = settings
        self._shared = shared
        self._pool = pool
        self._redis = redis
        self._snapshots = Snapshots(redis)
        self.edge = edge
        self._source = source
        self._ingest = ingest
        self._writer = writer
        needed = {"redis": Dependency(self._redis_check, _WITHOUT_REDIS)}
        useful: dict[str, Dependency] = {}
        if ingest is not None:
            # Clients are served without Kafka too, and sending them elsewhere would not bring it back.
            (needed if edge is None else useful)["kafka"] = Dependency(self._kafka_check, _WITHOUT_KAFKA)
        if source is not None:
            useful["postgres"] = Dependency(self._postgres_check, _WITHOUT_POSTGRES)
        self.health = Health(needed, useful)
        self.http_port = 0
        self._exposition = Exposition("notifier")
        self._exposition.reads(TALLY.read, reading.dependencies(lambda: self.health.known))
        if edge is not None:
            self._exposition.reads(edge.show)
        if pool is not None:
            self._exposition.reads(reading.pool(pool))
        if ingest is not None:
            self._exposition.reads(reading.readers(ingest))
        if writer is not None:
            self._exposition.reads(reading.writer(writer))

    async def run(self, shutdown: Shutdown) -> None:
        """Serve until a shutdown is asked for, then send clients away and stop reading."""
        async with AsyncExitStack() as stack:
            port = self._settings.notifier_http_port
            app = application(self.health)
            if self._shared:
                add_refusal(app)
            elif self._settings.metrics_port is None:
                add_route(app, self._exposition)
            if self.edge is not None:
                app.add_subapp("/v1", Streams(self.edge, self._settings).application())
            listener = serving(app, self._settings.host, port, shared=self._shared)
            self.http_port = await bound(stack, listener, "MILEPOST_NOTIFIER_HTTP_PORT", port)
            await stack.enter_async_context(background(("health", self.health.run)))
            meter.begin()
            await stack.enter_async_context(measuring(self._exposition, self._settings))
            if self._pool is not None:
                level = LogLevel(LogLevels(self._pool), "notifier")
                await stack.enter_async_context(background(("log level", level.follow)))
            if self._writer is not None:
                await stack.enter_async_context(background(("kafka writer", self._writer.run)))
            if self._ingest is not None:
                await stack.enter_async_context(self._reading(self._ingest))
            if self.edge is not None:
                await stack.enter_async_context(background(*self.edge.loops()))
                await bound(stack, self.edge.listening(), "MILEPOST_NOTIFIER_PORT", self._settings.notifier_port)
            log.info("ready", port=self.edge.port if self.edge else None, http_port=self.http_port)
            await shutdown.requested.wait()
            self.health.draining = True
            if self.edge is not None:
                log.info("draining", clients=self.edge.clients)
                await self.edge.drain(shutdown.hurry)
        log.info("stopped")

    @asynccontextmanager
    async def _reading(self, ingest: Ingest) -> AsyncIterator[None]:
        """Keep the ingest running; at the end let it commit and leave its group, but not wait for a broker."""
        members = Members(self._redis, ingest.group, ingest.member, self._expel)
        async with background(("ingest", ingest.run), ("ingest members", members.run)):
            try:
                yield
            finally:
                await ingest.stop(INGEST_STOP_S)
        await members.leave()

    async def _expel(self, member: str) -> int:
        assert self._ingest is not None  # noqa: S101 - nobody looks for members otherwise
        return await expel(self._settings, self._ingest.group, member)

    async def _redis_check(self) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(READY_CHECK_S):
                await self._snapshots.ping()
        except (Unavailable, TimeoutError) as error:
            return False, str(error) or f"no answer in {READY_CHECK_S:g} s"
        if self.edge is not None and not self.edge.channels.connected:
            return False, "the channel is not connected"
        return True, "answers"

    async def _kafka_check(self) -> tuple[bool, str]:
        assert self._ingest is not None  # noqa: S101 - only then is this check listed
        if not self._ingest.connected:
            return False, "not in the group; events wait in Kafka" if self._ingest.joined else "not yet in the group"
        lag = self._ingest.lag
        return True, "reading" if lag is None else f"reading; {lag:,} events behind"

    async def _postgres_check(self) -> tuple[bool, str]:
        assert self._source is not None  # noqa: S101 - only then is this check listed
        try:
            async with asyncio.timeout(READY_CHECK_S):
                await self._source.ping()
        except (Unavailable, TimeoutError) as error:
            return False, str(error) or f"no answer in {READY_CHECK_S:g} s"
        return True, "answers"


@asynccontextmanager
async def build_notifier(
    settings: Settings, role: Role = "all", *, traced: bool = False, shared: bool = False
) -> AsyncIterator[Notifier]:
    """Compose a notifier; what it opened is closed after the block.

    `traced`: spans are exported. `shared`: other processes listen on the same ports.
    """
    async with AsyncExitStack() as stack:
        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        edge = ingest = writer = None
        source: Keys | None = None
        pool: Pool | None = None
        if role in {"all", "edge"}:
            pool = await stack.enter_async_context(_asked(settings))
            source = Keys(pool)
            edge = Edge(settings, redis, source, keys=source, shared=shared, traced=traced)
        if role in {"all", "ingest"}:
            writer = Writer(settings, "milepost-notifier")
            pulse = Pulse(redis, settings.topic_prefix)
            ingest = Ingest(settings, Snapshots(redis), pulse, writer, traced=traced)
        yield Notifier(settings, redis, edge, source, ingest, writer, pool=pool, shared=shared)


@asynccontextmanager
async def _asked(settings: Settings) -> AsyncIterator[Pool]:
    """Give what is asked about tasks that Redis does not know, about keys, and what to log from: Postgres."""
    pool = await open_pool(settings, "notifier", size=4)
    try:
        yield pool
    finally:
        pool.terminate()
