"""The protocol of one client as a state machine: frames and events in, frames and closes out.

No socket, no Redis, no clock: whoever drives it passes the time in, carries out its `intents`, sends what is in its
`outbox` and closes when `closing` says so. See docs/protocol.md.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

import orjson
from pydantic import ValidationError

from milepost.domain.feed_filter import ALL, Filter, filter_of
from milepost.live import LiveEvent, View
from milepost.runtime.auth import KeyEnded, Principal
from milepost.runtime.metrics.catalogue import DEGRADED
from milepost.runtime.tokens import TokenExpired
from milepost_notifier.budget import Budget
from milepost_notifier.following import FORBIDDEN, Following, err
from milepost_notifier.intents import Ignore, Intent, Listen
from milepost_notifier.limits import Limits
from milepost_notifier.listening import Listening
from milepost_notifier.outbox import Outbox
from milepost_notifier.tally import closed
from milepost_notifier.validity import Validity
from milepost_schemas.frames import CLIENT_FRAME, CloseCode, Hello, Ping, Pong, Sub, Unsub
from milepost_schemas.position import Position

REASON_MAX: Final = 120
"""Bytes of a close reason (RFC 6455 allows 123)."""

NOT_FOUND: Final = ("not_found", "There is no such task; it may have been deleted, long after its end.")
UNAVAILABLE: Final = ("unavailable", "The task cannot be read just now. Subscribe again in a moment.")
DUPLICATE: Final = ("duplicate_sub", "This id is in use on this connection. Take another, or unsub first.")
TOO_MANY: Final = ("too_many_subs", "This connection has as many subscriptions as it may. Unsub some first.")


class Session:
    """One client from upgrade to close."""

    def __init__(
        self,
        name: str,
        authenticate: Callable[[str], Principal | None],
        now: float,
        limits: Limits,
    ) -> None:
        self.name = name
        self.outbox = Outbox()
        self.intents: list[Intent] = []
        """Emptied by whoever carries them out."""
        self.closing: tuple[int, str] | None = None
        self.principal: Principal | None = None
        self.lagging = False
        self.stalled = False
        """Set by whoever writes the outbox out: the line takes nothing now. Only then can a client be too slow."""
        self.due = now + limits.hello
        """Before this time alone changes nothing, and `tick` need not be called."""
        self._authenticate = authenticate
        self._validity = Validity(None, now)
        self._renewals = Budget(1.0, limits.renewals, now)
        self._limits = limits
        self._deadline = self.due
        self._ping_at = 0.0
        self._pong_by: float | None = None
        self._over_since: float | None = None
        self._snap_at = 0.0
        self._following = Following(self.outbox, self.intents, limits)
        self._listening = Listening(self.outbox)

    # -- from the client

    def receive(self, message: str | bytes, now: float) -> None:
        """Take a message of the client; bytes are a binary one."""
        if self.closing is not None:
            return
        if isinstance(message, bytes):
            self._violation("binary frame; frames are JSON text")
            return
        try:
            frame = CLIENT_FRAME.validate_json(message)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            self._violation(f"{where}: {first['msg']}" if where else first["msg"])
            return
        if self.principal is None:
            self._greet(frame, now)
        elif isinstance(frame, Sub):
            self._subscribe(frame)
        elif isinstance(frame, Unsub):
            self._unsubscribe(frame.id)
        elif isinstance(frame, Ping):
            self.outbox.put(b'{"t":"pong"}')
        elif isinstance(frame, Pong):
            self._pong_by = None
        else:
            self._renew(frame, now)
        self._weigh(now)

    def _greet(self, frame: Hello | Sub | Unsub | Ping | Pong, now: float) -> None:
        if not isinstance(frame, Hello):
            self._violation(f"the first frame must be hello, this was {frame.t}")
            return
        principal = self._identified(frame)
        if principal is not None:
            self.let_in(principal, now)

    def let_in(self, principal: Principal, now: float) -> None:
        """Welcome a client that is known: by its hello, or before by its ticket."""
        self._ping_at = now + self._limits.ping
        self._admit(principal, now)

    def _renew(self, frame: Hello, now: float) -> None:
        """Take another token; what it does not cover ends."""
        if not self._renewals.take(now):  # to check one takes a while
            self.over_limit("more than one token a second")
            return
        before, principal = self.principal, self._identified(frame)
        if principal is None or before is None:
            return
        if principal.tenant != before.tenant:
            self._close(CloseCode.FORBIDDEN, "the new token is another tenant's")
            return
        self._admit(principal, now)
        for number in self._listening.numbers:
            heard = self._listening.only(number) or ALL
            if principal.grant.narrowed(heard) != heard:
                self.outbox.put(err(number, *FORBIDDEN))
                self.intents += map(Ignore, self._listening.remove(number))

    def _identified(self, frame: Hello) -> Principal | None:
        """Return who says hello; None after closing, if that is nobody who may watch."""
        try:
            principal = self._authenticate(frame.token)
        except TokenExpired:
            self._close(CloseCode.TOKEN_EXPIRED)
            return None
        except KeyEnded as error:
            self._close(CloseCode.BAD_TOKEN, str(error))
            return None
        if principal is None:
            self._close(CloseCode.BAD_TOKEN)
        elif not principal.watches:
            self._close(CloseCode.FORBIDDEN, "this key may not read")
            return None
        return principal

    def _admit(self, principal: Principal, now: float) -> None:
        self.principal = principal
        self.due = now
        self._validity = Validity(principal.lasts, now)
        left = self._validity.left(now)
        frame = {"t": "welcome", "session": self.name, "ping": self._limits.ping, "max_subs": self._limits.subs}
        self.outbox.put(orjson.dumps(frame if left is None else {**frame, "expires": round(left, 1)}))
        self._following.allow(principal.grant)

    def _subscribe(self, frame: Sub) -> None:
        if self.has(frame.id):
            self.outbox.put(err(frame.id, *DUPLICATE))
        elif len(self._following) + len(self._listening) >= self._limits.subs:
            self.outbox.put(err(frame.id, *TOO_MANY))
        elif frame.task is not None:
            self._following.add(frame)
        else:
            self._listen(frame.id, filter_of(frame.filter))

    def _listen(self, number: int, asked: Filter) -> None:
        heard = self.principal.grant.narrowed(asked) if self.principal is not None else None
        if heard is None:
            self.outbox.put(err(number, *FORBIDDEN))
            return
        only = None if heard == ALL else heard
        self._listening.add(number, only)
        self.intents.append(Listen(only))

    def _unsubscribe(self, number: int) -> None:
        # Unknown: our `end` and the client's `unsub` met on the way.
        if not self._following.remove(number):
            self.intents += map(Ignore, self._listening.remove(number))

    # -- from Redis and Postgres

    def event(self, task: UUID, event: LiveEvent, now: float) -> None:
        """Take an event of a task this client follows."""
        self._following.event(task, event)
        self._weigh(now)

    def child(self, parent: UUID, child: UUID, event: LiveEvent, now: float) -> None:
        """Take that a task this client follows has a new child, or one that begins anew: its first event."""
        self._following.child(parent, child, event)
        self._weigh(now)

    @property
    def tasks(self) -> int:
        """Subscriptions to tasks."""
        return len(self._following)

    @property
    def feeds(self) -> int:
        """Subscriptions to feeds."""
        return len(self._listening)

    def has(self, number: int) -> bool:
        """Return whether there is, still, a subscription of this number."""
        return number in self._following or number in self._listening

    def waits(self, number: int) -> bool:
        """Return whether a subscription was not yet told where it stands."""
        return self._following.waits(number) or self._listening.waits(number)

    def wants(self, join: int) -> bool:
        """Return whether a Lookup still has to be answered."""
        return self._following.wants(join)

    def joined(self, join: int, view: View, now: float) -> None:
        """Take the answer to a Lookup."""
        self._following.joined(join, view)
        self._weigh(now)

    def refused(self, join: int, code: str, message: str) -> None:
        """Take the answer to a Lookup that found nothing to show; the subscription is over."""
        self._following.refused(join, code, message)

    def children(self, question: int, found: Iterable[tuple[UUID, Position]], now: float) -> None:
        """Take the answer to a Descend: children, in the order they are to be told in, with where they are."""
        self._following.children(question, found)
        self._weigh(now)

    def descend(self) -> None:
        """Ask again for the children of everything that is told as a tree."""
        self._following.descend()

    def resync(self, task: UUID, at: Position, *, finished: bool, force: bool = False) -> None:
        """Look again if what is known of the task is ahead of a subscription; `force`: send a snapshot anyway."""
        self._following.resync(task, at, finished=finished, force=force)

    def feed_on(self, only: Filter | None, *, reset: bool) -> None:
        """Take that the tenant's feed is heard from now on; `reset`: that something of it was missed."""
        self._listening.on(only, reset=reset)

    def changes(self, only: Filter | None, changes: bytes, now: float) -> None:
        """Take what happened to tasks of the tenant, all or some: a JSON list."""
        self._listening.changes(only, changes, lagging=self.lagging)
        self._weigh(now)

    # -- time

    def tick(self, now: float) -> None:
        """Let time pass: deadlines, pings, snapshots for who is left behind. Called twice a second from `due` on."""
        if self.closing is not None:
            return
        if self.principal is None:
            if now >= self._deadline:
                self._close(CloseCode.NO_HELLO)
            return
        if self._pong_by is not None and now >= self._pong_by:
            self._close(CloseCode.NO_PONG)
            return
        if self._validity.over(now):
            self._close(CloseCode.TOKEN_EXPIRED)
            return
        if self._validity.ask(now):
            self.outbox.put(orjson.dumps({"t": "refresh", "in": round(self._validity.left(now) or 0.0, 1)}))
        if now >= self._ping_at:
            self._ping_at = now + self._limits.ping
            self._pong_by = now + self._limits.ping
            self.outbox.put(b'{"t":"ping"}')
        self._weigh(now)
        if not self.stalled and self.outbox.size <= self._limits.soft // 2 and now >= self._snap_at:
            self._make_up(now)
        if self.lagging or self._following.behind:
            self.due = now
        else:
            self.due = min(self._ping_at, self._validity.due, math.inf if self._pong_by is None else self._pong_by)

    def drain(self, after_ms: int) -> None:
        """Say goodbye: come back in so many milliseconds."""
        if self.closing is None:
            self.outbox.put(b'{"t":"bye","after":%d}' % after_ms)
            self._close(CloseCode.DRAINING)

    def over_limit(self, detail: str) -> None:
        """Close on a client that is one too many, or sends too much."""
        if self.closing is None:
            self._close(CloseCode.OVER_LIMIT, detail)

    def revoked(self) -> None:
        """Close on a client whose key was revoked; who came with a token of that key may come back with another."""
        if self.closing is None and self.principal is not None:
            if self.principal.only_watches:
                self._close(CloseCode.TOKEN_EXPIRED, "the key it was made with was revoked")
            else:
                self._close(CloseCode.BAD_TOKEN, "this key was revoked")

    def unidentified(self) -> None:
        """Close on a client that showed a key nobody can check now."""
        if self.closing is None:
            self._close(CloseCode.UNAVAILABLE, "this key cannot be checked just now")

    def lost(self) -> None:
        """The connection is gone: nothing more comes in or goes out."""
        self.outbox.clear()
        self._remove_all()

    # -- inside

    def _make_up(self, now: float) -> None:
        """Tell a client that was slow, and is not now, where things stand."""
        if self.lagging:
            self._lag(on=False)
        self._listening.make_up()
        if self._following.make_up():
            self._snap_at = now + self._limits.snap_every

    def _lag(self, *, on: bool) -> None:
        self.lagging = self._following.lagging = on
        DEGRADED.add(on)
        self.outbox.put(b'{"t":"lag","on":%b}' % (b"true" if on else b"false"))

    def _remove_all(self) -> None:
        self._following.clear()
        self.intents += map(Ignore, self._listening.clear())

    def _weigh(self, now: float) -> None:
        """Degrade a slow client, and in the end give it up."""
        if not self.stalled or self.outbox.size <= self._limits.soft:
            self._over_since = None
            return
        if not self.lagging:
            self.due = now
            self._snap_at = now + self._limits.snap_every
            self._following.leave_behind(self.outbox.drop_events())
            self._lag(on=True)
        size = self.outbox.size
        if size <= self._limits.hard:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now
        if size > self._limits.cap or (
            self._over_since is not None and now - self._over_since >= self._limits.patience
        ):
            self.outbox.clear()
            self._close(CloseCode.TOO_SLOW)

    def _violation(self, what: str) -> None:
        self._close(CloseCode.PROTOCOL_VIOLATION, what)

    def _close(self, code: CloseCode, detail: str = "") -> None:
        closed(code)
        reason = f"{code.text}: {detail}" if detail else code.text
        self.closing = (code.code, reason.encode()[:REASON_MAX].decode(errors="ignore"))
        self._remove_all()


def token_in(message: str | bytes) -> str | None:
    """Return the token of a hello; None for any other message."""
    if isinstance(message, bytes) or '"hello"' not in message:
        return None
    try:
        frame = CLIENT_FRAME.validate_json(message)
    except ValidationError:
        return None
    return frame.token if isinstance(frame, Hello) else None
