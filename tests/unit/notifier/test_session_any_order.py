"""Whatever is lost, late, coalesced or broken off: in the end the client has the task as it is."""

import copy
from collections import deque
from typing import Any

import hypothesis.strategies as st
import orjson
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from milepost.live import LiveEvent, View
from milepost.live.wire import MENDED, SEED
from milepost_notifier.intents import Lookup
from milepost_notifier.limits import Limits
from milepost_schemas.event import EventKind
from milepost_schemas.position import Position
from tests.unit.notifier.making import TASK, Client, Driven, event
from tests.unit.notifier.remembering import Remembered

HISTORY = 5
TERMINAL = ("succeeded", "failed", "cancelled")
FIRST = {
    "id": str(TASK), "type": "t", "queue": "q", "state": "queued", "attempt": 0, "max_attempts": 3,
    "root_id": str(TASK), "created_at": "2026-01-01T00:00:00Z", "epoch": 0,
}  # fmt: skip


class Relay(RuleBasedStateMachine):
    """A task, Redis and Postgres as far as they matter, one session and one client with a slow line."""

    def __init__(self) -> None:
        super().__init__()
        self.truth: dict[str, Any] = dict(FIRST)
        self.at = Position(0, 0)
        self.redis = Remembered()
        self.redis.apply(self.at, EventKind.QUEUED, self.truth)
        self.history: list[LiveEvent] = []
        self.postgres = (dict(self.truth), self.at)
        self.on_the_way: deque[LiveEvent] = deque()
        self.read: list[tuple[Lookup, View]] = []
        self.whole = True
        """No event was lost before Redis."""
        self.driven: Driven
        self.client = Client()

    @initialize()
    def connect(self) -> None:
        """A session that has said hello, and wants the task from where the client is."""
        self.driven = Driven(Limits(soft=900, hard=50_000, buffer=500))
        self.driven.sub(since=list(self.client.at) if self.client.at else None)

    @property
    def over(self) -> bool:
        return self.truth["state"] in TERMINAL

    # -- the task

    def happens(self, at: Position, kind: str, data: dict[str, Any], *, whole: bool = False, merged: int = 0) -> None:
        one = event(*at, kind, data, prev=self.redis.at, whole=whole, merged=merged)
        self.at = at
        kind_ = EventKind(kind)
        if kind_.patches:
            self.truth |= {**data, "epoch": at.epoch}
        if kind_.patches and kind != "progress":
            self.postgres = (dict(self.truth), at)
        self.redis.apply(at, kind_, data, merged)
        self.history = [*self.history, one][-HISTORY:]
        self.on_the_way.append(one)

    @precondition(lambda self: not self.over)
    @rule()
    def renews(self) -> None:
        """A worker stores its progress with its lease."""
        self.postgres = (dict(self.truth), self.at)

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from(["progress", "waiting"]))
    def never_reaches_redis(self, kind: str) -> None:
        """Kafka lost it, or never had it."""
        self.whole = False
        before, history = copy.deepcopy(self.redis), self.history
        data = {"progress": {"done": 50}} if kind == "progress" else {"state": "waiting", "due_at": str(self.at)}
        self.happens(Position(self.at.epoch, self.at.seq + 1), kind, data)
        self.on_the_way.pop()
        self.redis, self.history = before, history

    @precondition(lambda self: not self.over)
    @rule(done=st.integers(0, 99), more=st.booleans())
    def progress(self, done: int, more: bool) -> None:
        data: dict[str, Any] = {"progress": {"done": done}}
        if more:
            data["message"] = f"at {done}"
        self.happens(Position(self.at.epoch, self.at.seq + 1), "progress", data)

    @precondition(lambda self: not self.over)
    @rule(size=st.integers(0, 300))
    def log(self, size: int) -> None:
        self.happens(Position(self.at.epoch, self.at.seq + 1), "log", {"line": "x" * size})

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from(["started", "waiting", "retrying"]), new=st.booleans())
    def lifecycle(self, kind: str, new: bool) -> None:
        # That the last event of an epoch was lost cannot be seen from the next epoch's first; see docs/protocol.md.
        at = Position(self.at.epoch + 1, 0) if new and self.whole else Position(self.at.epoch, self.at.seq + 1)
        self.happens(at, kind, {"state": kind, "progress": None})

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from(["waiting", *TERMINAL]), new=st.booleans(), merged=st.integers(1, 3))
    def merged_into_one(self, kind: str, new: bool, merged: int) -> None:
        """What happened before it was sent together with it."""
        fresh = new and self.whole
        at = Position(self.at.epoch + 1, merged) if fresh else Position(self.at.epoch, self.at.seq + 1 + merged)
        self.happens(at, kind, {"state": kind, "progress": {"done": merged}, "result": 7}, merged=merged)

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from(["queued", "lease_lost", *TERMINAL]), new=st.booleans())
    def told_in_whole(self, kind: str, new: bool) -> None:
        """An event made from the row."""
        at = Position(self.at.epoch + 1, 0) if new and self.whole else Position(self.at.epoch, self.at.seq + 1)
        state = kind if kind in TERMINAL else "queued"
        self.happens(at, kind, {**self.truth, "state": state, "progress": None, "epoch": at.epoch}, whole=True)

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from(TERMINAL))
    def ends(self, kind: str) -> None:
        self.happens(Position(self.at.epoch, self.at.seq + 1), kind, {"state": kind, "result": 7})

    @precondition(lambda self: not self.over)
    @rule(kinds=st.lists(st.sampled_from(["log", "progress", "waiting"]), min_size=3, max_size=8))
    def bursts_while_the_line_is_stalled(self, kinds: list[str]) -> None:
        self.driven.session.stalled = True
        for kind in kinds:
            if kind == "log":
                self.log(60)
            elif kind == "progress":
                self.progress(len(kinds), more=False)
            else:
                self.lifecycle("waiting", new=False)
        while self.on_the_way:
            self.delivered()

    # -- Redis

    @rule()
    def flushed(self) -> None:
        self.redis, self.history = Remembered(), []

    @precondition(lambda self: self.on_the_way)
    @rule()
    def delivered(self) -> None:
        self.driven.event(self.on_the_way.popleft())

    @precondition(lambda self: self.on_the_way)
    @rule()
    def lost(self) -> None:
        self.on_the_way.popleft()

    @rule()
    def looked_up(self) -> None:
        """Read what is wanted now; the answer comes later."""
        for lookup in self.driven.lookups():
            if not self.redis.complete:
                self.seed()
            at, task = self.redis.at, self.redis.task
            assert at is not None
            history = tuple(map(copy.copy, self.history))
            finished = task.get("state") in TERMINAL
            view = View(at, orjson.dumps(task), finished, complete=self.redis.complete, history=history)
            self.read.append((lookup, view))

    @rule()
    def somebody_else_looks_it_up(self) -> None:
        if not self.redis.complete:
            self.seed()

    def seed(self) -> None:
        before, complete = self.redis.at, self.redis.complete
        moves = self.redis.seed(*self.postgres)
        if moves or complete != self.redis.complete:
            assert self.redis.at is not None
            told = event(*self.redis.at, "waiting", {}, prev=before)
            told.kind = SEED if moves else MENDED
            self.on_the_way.append(told)

    @precondition(lambda self: self.read)
    @rule()
    def answered(self) -> None:
        lookup, view = self.read.pop(0)
        self.driven.session.joined(lookup.join, view, self.driven.now)

    @rule()
    def audited(self) -> None:
        """The same steps as Edge.audit, with every task quiet."""
        known, gap = self.redis.at, not self.redis.complete
        task, at = self.postgres
        if known is not None:
            self.driven.session.resync(TASK, known, finished=self.redis.task.get("state") in TERMINAL)
        if known is None or gap or at > known:
            self.seed()
        self.driven.session.resync(TASK, at, finished=task["state"] in TERMINAL, force=known is not None and gap)

    # -- the line

    @rule(stalled=st.booleans())
    def line_changes(self, stalled: bool) -> None:
        self.driven.session.stalled = stalled

    @rule(size=st.integers(1, 2000))
    def sent(self, size: int) -> None:
        for raw in self.driven.session.outbox.take(size):
            self.client.take(orjson.loads(raw))

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.driven.tick(seconds)
        self.driven.send({"t": "pong"})

    @precondition(lambda self: not self.client.ended)
    @rule()
    def reconnects(self) -> None:
        self.driven.session.lost()
        assert self.driven.session.outbox.size == 0
        self.read = []
        self.connect()

    @invariant()
    def stays_open(self) -> None:
        if hasattr(self, "driven"):
            assert self.driven.session.closing is None

    @invariant()
    def size_is_counted_right(self) -> None:
        if hasattr(self, "driven"):
            outbox = self.driven.session.outbox
            assert outbox.size == sum(entry.size for entry in outbox._entries)

    def teardown(self) -> None:
        """Let everything come to rest and compare."""
        if not hasattr(self, "driven"):
            return
        if not self.over:
            self.happens(Position(self.at.epoch, self.at.seq + 1), "waiting", {"state": "waiting", "result": None})
        self.postgres = (dict(self.truth), self.at)
        self.driven.session.stalled = False
        for _ in range(12):
            while self.on_the_way:
                self.delivered()
            self.looked_up()
            while self.read:
                self.answered()
            self.sent(10**9)
            self.time_passes(1.0)
            self.audited()
        assert self.client.task == self.truth
        assert self.client.ended == self.over


TestRelay = Relay.TestCase
TestRelay.settings = settings(max_examples=200, stateful_step_count=60)
