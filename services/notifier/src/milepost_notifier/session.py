"""The protocol of one client as a state machine: frames and events in, frames and closes out.

No socket, no Redis, no clock: whoever drives it passes the time in, carries out its `intents`, sends what is in its
`outbox` and closes when `closing` says so. See docs/protocol.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from pydantic import ValidationError

from milepost.domain.feed_filter import ALL, Filter, filter_of
from milepost.domain.grant import Grant
from milepost.live import LiveEvent, View
from milepost.live.wire import SEED
from milepost.runtime.auth import Principal
from milepost.runtime.tokens import TokenExpired
from milepost_notifier.budget import Budget
from milepost_notifier.limits import Limits
from milepost_notifier.listening import Listening
from milepost_notifier.outbox import Outbox, Subscription
from milepost_notifier.validity import Validity
from milepost_schemas.frames import CLIENT_FRAME, CloseCode, Hello, Ping, Pong, Sub, Unsub
from milepost_schemas.position import Position

REASON_MAX: Final = 120
"""Bytes of a close reason (RFC 6455 allows 123)."""

NOT_FOUND: Final = ("not_found", "There is no such task.")
UNAVAILABLE: Final = ("unavailable", "The task cannot be read just now. Subscribe again in a moment.")
DUPLICATE: Final = ("duplicate_sub", "This id is in use on this connection. Take another, or unsub first.")
FORBIDDEN: Final = ("forbidden", "Your token does not cover this. Subscribe with one that does.")
TOO_MANY: Final = ("too_many_subs", "This connection has as many subscriptions as it may. Unsub some first.")


class Lookup(NamedTuple):
    """Attach to the task's channel, then read it, then call `joined` (or `refused`) with the same numbers."""

    sub: int
    join: int
    task: UUID
    since: Position | None
    fresh: bool
    tail: int = 0
    """So many of the last streamed events are wanted too."""
    grant: Grant | None = None
    """Not None: it has to be shown first that this covers the task."""


class Forget(NamedTuple):
    """Nobody on this connection watches the task any more."""

    task: UUID


class Listen(NamedTuple):
    """Call `feed_on` when the tenant's feed is heard, then `changes` for what it says of these tasks (None: of all)."""

    only: Filter | None = None


class Ignore(NamedTuple):
    """Nobody on this connection listens to that any more."""

    only: Filter | None = None


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
        self.intents: list[Lookup | Forget | Listen | Ignore] = []
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
        self._joins = 0
        self._subs: dict[int, Subscription] = {}
        self._by_task: dict[UUID, list[Subscription]] = {}
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
        if principal.grant == before.grant:
            return
        for sub in tuple(self._subs.values()):
            covered = principal.grant.covers(sub.task)
            if covered is False:
                self._forbid(sub)
            else:
                sub.proven = covered is True
                if not sub.proven:
                    self._look(sub)
        for number in self._listening.numbers:
            heard = self._listening.only(number) or ALL
            if principal.grant.narrowed(heard) != heard:
                self._err(number, *FORBIDDEN)
                self.intents += map(Ignore, self._listening.remove(number))

    def _identified(self, frame: Hello) -> Principal | None:
        """Return who says hello; None after closing, if that is nobody who may watch."""
        try:
            principal = self._authenticate(frame.token)
        except TokenExpired:
            self._close(CloseCode.TOKEN_EXPIRED)
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

    def _subscribe(self, frame: Sub) -> None:
        if frame.id in self._subs or frame.id in self._listening:
            self._err(frame.id, *DUPLICATE)
        elif len(self._subs) + len(self._listening) >= self._limits.subs:
            self._err(frame.id, *TOO_MANY)
        elif frame.task is None:
            self._listen(frame.id, filter_of(frame.filter))
        elif (covered := self._grant.covers(frame.task)) is False:
            self._err(frame.id, *FORBIDDEN)
        else:
            sub = Subscription(frame.id, frame.task, frame.from_, frame.tail or 0)
            sub.proven = covered is True
            self._subs[sub.id] = sub
            self._by_task.setdefault(sub.task, []).append(sub)
            self._look(sub)

    def _listen(self, number: int, asked: Filter) -> None:
        heard = self._grant.narrowed(asked)
        if heard is None:
            self._err(number, *FORBIDDEN)
            return
        only = None if heard == ALL else heard
        self._listening.add(number, only)
        self.intents.append(Listen(only))

    def _unsubscribe(self, number: int) -> None:
        # Unknown: our `end` and the client's `unsub` met on the way.
        if (sub := self._subs.get(number)) is not None:
            self.outbox.forget(sub)
            self._remove(sub)
        else:
            self.intents += map(Ignore, self._listening.remove(number))

    # -- from Redis and Postgres

    def event(self, task: UUID, event: LiveEvent, now: float) -> None:
        """Take an event of a task this client watches."""
        for sub in tuple(self._by_task.get(task, ())):
            if self._answers(sub, event):
                self._meet(sub, event, now)
            else:
                self._follow(sub, event)
        self._weigh(now)

    def has(self, number: int) -> bool:
        """Return whether there is, still, a subscription of this number."""
        return number in self._subs or number in self._listening

    def waits(self, number: int) -> bool:
        """Return whether a subscription was not yet told where it stands."""
        sub = self._subs.get(number)
        return sub.fresh if sub is not None else self._listening.waits(number)

    def wants(self, number: int, join: int) -> bool:
        """Return whether a Lookup still has to be answered."""
        sub = self._subs.get(number)
        return sub is not None and sub.join == join

    def joined(self, number: int, join: int, view: View, now: float) -> None:
        """Take the answer to a Lookup."""
        sub = self._subs.get(number)
        if sub is None or sub.join != join:
            return  # unsubscribed meanwhile
        sub.join = 0
        sub.proven = True  # else it would have been refused
        buffer, sub.buffer, sub.buffered = sub.buffer, [], 0
        self._catch_up(sub, view)
        # A view that lags behind the client is not the last word, unless it says that this very run is over.
        if view.finished and (sub.position is None or view.at.epoch >= sub.position.epoch):
            self.outbox.put(_task_frame(b"end", sub.id, max(view.at, sub.position or view.at), view.task), sub)
            self._remove(sub)
        else:
            for event in buffer:
                if self._subs.get(number) is sub:  # the one before may have ended it
                    self._follow(sub, event)
            if (sub.again or sub.stale) and sub.join == 0 and self._subs.get(number) is sub:
                sub.force, sub.again, sub.stale = sub.stale, False, False
                self._look(sub)
        self._weigh(now)

    def refused(self, number: int, join: int, code: str, message: str) -> None:
        """Take the answer to a Lookup that found nothing to show; the subscription is over."""
        sub = self._subs.get(number)
        if sub is not None and sub.join == join:
            self.outbox.forget(sub)
            self._err(number, code, message)
            self._remove(sub)

    def resync(self, task: UUID, at: Position, *, finished: bool, force: bool = False) -> None:
        """Look again if what is known of the task is ahead of a subscription; `force`: send a snapshot anyway."""
        for sub in self._by_task.get(task, ()):
            if sub.join:
                sub.stale = sub.stale or force  # what is under way may have been read before
            elif force or finished or sub.position is None or sub.position < at:
                sub.force = force
                self._look(sub)

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
        if self.lagging or any(sub.behind for sub in self._subs.values()):
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

    def lost(self) -> None:
        """The connection is gone: nothing more comes in or goes out."""
        self.outbox.clear()
        self._remove_all()

    # -- inside

    @property
    def _grant(self) -> Grant:
        assert self.principal is not None  # noqa: S101 - nobody subscribes before hello
        return self.principal.grant

    def _answers(self, sub: Subscription, event: LiveEvent) -> bool:
        """Whether an event is as good as the first look-up's answer: it holds the whole task, and may be shown."""
        if not event.whole or not sub.join or not sub.fresh or sub.position is not None or sub.lines:
            return False
        return sub.proven or self._grant.covers_members(orjson.loads(event.data)) is True

    def _forbid(self, sub: Subscription) -> None:
        """End a subscription that the client's token does not cover any more."""
        self.outbox.forget(sub)
        self._err(sub.id, *FORBIDDEN)
        self._remove(sub)

    def _make_up(self, now: float) -> None:
        """Tell a client that was slow, and is not now, where things stand."""
        self.lagging = False
        self._listening.make_up()
        for sub in self._subs.values():
            if sub.behind and sub.join == 0:
                self._snap_at = now + self._limits.snap_every
                sub.force = True
                self._look(sub)

    def _remove_all(self) -> None:
        for sub in tuple(self._subs.values()):
            self._remove(sub)
        self.intents += map(Ignore, self._listening.clear())

    def _meet(self, sub: Subscription, event: LiveEvent, now: float) -> None:
        """Answer a first look-up by an event that holds the whole task; the answer on its way comes too late.

        It is as good a view as any: the event left Redis when the snapshot there was the same, and whatever comes
        later on the channel comes later here. What was kept before it is in it.
        """
        view = View(event.at, event.data, event.terminal, event.traceparent, age=0.0)
        self.joined(sub.id, sub.join, view, now)

    def _pass(self, sub: Subscription, event: LiveEvent) -> None:
        self.outbox.put_event(sub, event)
        sub.told(event)

    def _follow(self, sub: Subscription, event: LiveEvent) -> None:
        if sub.join:
            self._keep(sub, event)
            return
        position = sub.position
        if position is not None and event.at <= position:
            return
        if event.kind == SEED:
            self._look(sub)
            return
        if not sub.behind and (position is None or not event.continues(position)):
            self._look(sub)
            self._keep(sub, event)
            return
        if event.droppable and (sub.behind or self.lagging):
            sub.behind = True
            sub.forget()
            return
        self._pass(sub, event)
        if event.terminal:
            self._finish(sub)

    def _finish(self, sub: Subscription) -> None:
        """Say the end after a terminal event: the snapshot and every event since are the task, see docs/protocol.md.

        Only where they are known without a hole; else the task is read once more.
        """
        task, at = sub.task_told, sub.position
        if task is None or at is None or sub.behind:
            self._look(sub)
            return
        self.outbox.put(_task_frame(b"end", sub.id, at, task), sub)
        self._remove(sub)

    def _keep(self, sub: Subscription, event: LiveEvent) -> None:
        if sub.buffered + event.size > self._limits.buffer:
            sub.buffer, sub.buffered, sub.again = [], 0, True
        elif not sub.again:  # the second look-up finds what comes after a hole in the buffer
            sub.buffer.append(event)
            sub.buffered += event.size

    def _catch_up(self, sub: Subscription, view: View) -> None:
        """Bring the client from where it is to where the view is: by events if there is a chain, else by a snapshot."""
        position = sub.position
        forced, sub.force = sub.force, False
        chain = None if position is None or forced else view.after(position)
        if chain is not None and sum(event.size for event in chain) <= self._limits.soft:
            sub.behind = False
            for event in chain:
                self._pass(sub, event)
        elif forced or sub.fresh or position is None or view.at > position:
            if forced and not sub.fresh and position is not None and view.at < position:
                return  # an older view is no snapshot; the audit asks again
            sub.behind = False
            self.outbox.put_snap(sub, self._snap(sub, view, reset=position is not None), view.at)
            sub.told_all(view)
        sub.fresh = False

    def _snap(self, sub: Subscription, view: View, *, reset: bool) -> bytes:
        tail = _last(view.tail, sub.lines, self._limits.tail) if sub.lines else None
        return _snap(sub.id, view, reset=reset, tail=tail)

    def _look(self, sub: Subscription) -> None:
        self._joins += 1
        sub.join = self._joins
        since = None if sub.force else sub.position
        grant = None if sub.proven else self._grant
        self.intents.append(Lookup(sub.id, sub.join, sub.task, since, sub.fresh, sub.lines, grant))

    def _remove(self, sub: Subscription) -> None:
        del self._subs[sub.id]
        left = self._by_task[sub.task]
        left.remove(sub)
        if not left:
            del self._by_task[sub.task]
            self.intents.append(Forget(sub.task))

    def _weigh(self, now: float) -> None:
        """Degrade a slow client, and in the end give it up."""
        if not self.stalled or self.outbox.size <= self._limits.soft:
            self._over_since = None
            return
        if not self.lagging:
            self.lagging = True
            self.due = now
            self._snap_at = now + self._limits.snap_every
            for number in self.outbox.drop_events():
                if number in self._subs:
                    self._subs[number].behind = True
                    self._subs[number].forget()
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

    def _err(self, number: int, code: str, message: str) -> None:
        self.outbox.put(orjson.dumps({"t": "err", "id": number, "code": code, "message": message}))

    def _violation(self, what: str) -> None:
        self._close(CloseCode.PROTOCOL_VIOLATION, what)

    def _close(self, code: CloseCode, detail: str = "") -> None:
        reason = f"{code.text}: {detail}" if detail else code.text
        self.closing = (code.code, reason.encode()[:REASON_MAX].decode(errors="ignore"))
        self._remove_all()


def _task_frame(kind: bytes, number: int, at: Position, task: bytes) -> bytes:
    return b'{"t":"%b","id":%d,"at":[%d,%d],"task":%b}' % (kind, number, *at, task)


def _snap(number: int, view: View, *, reset: bool, tail: Sequence[bytes] | None) -> bytes:
    frame = _task_frame(b"snap", number, view.at, view.task)[:-1]
    if reset:
        frame += b',"reset":true'
    if view.traceparent is not None:
        frame += b',"traceparent":"%b"' % view.traceparent.encode()
    if view.age is not None:
        frame += b',"age":%.1f' % view.age
    if tail is not None:
        frame += b',"tail":[%b]' % b",".join(tail)
    return frame + b"}"


def _last(tail: Sequence[bytes], number: int, size: int) -> Sequence[bytes]:
    """Return the last so many of a tail, and no more than fit into `size` bytes."""
    start = len(tail)
    while start and len(tail) - start < number and (size := size - len(tail[start - 1])) >= 0:
        start -= 1
    return tail[start:]
