"""Whatever is lost, late, coalesced or broken off: in the end the client has every task of the tree as it is."""

import copy
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import orjson
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from milepost.domain.grant import EVERYTHING, Grant
from milepost.live import LiveEvent, View
from milepost.live.wire import MENDED, SEED
from milepost_notifier.following import FORBIDDEN
from milepost_notifier.intents import Descend, Forget, Lookup
from milepost_notifier.limits import Limits
from milepost_schemas.event import EventKind
from milepost_schemas.position import Position
from tests.unit.notifier.making import TASK, Driven, TreeClient, event
from tests.unit.notifier.remembering import Remembered

HISTORY = 5
TASKS_MAX = 6
TERMINAL = ("succeeded", "failed", "cancelled")
ONE_TEAM = Grant(label=("team", "a"))


class Lived:
    """One task: what it is, and what Redis and Postgres know of it."""

    def __init__(self, id_: UUID, parent: UUID | None, team: str = "a") -> None:
        self.id = id_
        self.parent = parent
        self.truth: dict[str, Any] = {
            "id": str(id_), "type": "t", "queue": "q", "state": "queued", "attempt": 0, "max_attempts": 3,
            "root_id": str(TASK), "created_at": "2026-01-01T00:00:00Z", "epoch": 0, "progress": None,
            "labels": {"team": team},
        }  # fmt: skip
        self.at = Position(0, 0)
        self.redis = Remembered()
        self.history: list[LiveEvent] = []
        self.postgres = (dict(self.truth), self.at)
        self.whole = True
        """No event of this epoch was lost before Redis."""

    @property
    def over(self) -> bool:
        return self.truth["state"] in TERMINAL

    def flushed(self) -> None:
        self.redis, self.history = Remembered(), []
        self.whole = self.whole and self.at == self.postgres[1]


Told = tuple[UUID, UUID | None, LiveEvent]
"""On the channel of a task: of itself, or of a child."""


class Trees(RuleBasedStateMachine):
    """A tree of tasks, Redis and Postgres as far as they matter, one session and one client with a slow line."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = (UUID(int=TASK.int + n) for n in count(1))
        self.tasks = {TASK: Lived(TASK, None)}
        self.on_the_way: deque[Told] = deque()
        self.wanted: list[Lookup | Descend] = []
        self.read: list[tuple[Lookup, View | None]] = []
        """None: the token does not cover it."""
        self.found: list[tuple[Descend, list[tuple[UUID, Position]]]] = []
        self.attached: set[UUID] = set()
        self.lost = False
        """Something was lost that only a comparison with Redis and Postgres makes up for."""
        self.driven: Driven
        self.client = TreeClient()
        self.happens(self.tasks[TASK], "queued", dict(self.tasks[TASK].truth), Position(0, 0))

    @initialize()
    def connect(self) -> None:
        self.driven = Driven(Limits(soft=900, hard=50_000, buffer=500))
        at = self.client.root.at
        self.driven.sub(since=list(at) if at else None)

    # -- the tasks

    def happens(
        self, task: Lived, kind: str, data: dict[str, Any], at: Position | None = None, *, lost: bool = False
    ) -> None:
        """`lost`: the event never reaches Redis."""
        at = at or Position(task.at.epoch, task.at.seq + 1)
        whole = "created_at" in data
        one = event(*at, kind, data, prev=task.redis.at, task=task.id, whole=whole)
        task.at, kind_ = at, EventKind(kind)
        if kind_.patches:
            task.truth |= {**data, "epoch": at.epoch}
        if kind_.patches and kind != "progress":
            task.postgres = (dict(task.truth), at)
        task.whole = not lost and (task.whole or whole)
        self.lost = self.lost or lost
        if lost:
            return
        begins = whole and (task.redis.at is None or task.redis.task.get("state") in TERMINAL)
        task.redis.apply(at, kind_, data)
        task.history = [*task.history, one][-HISTORY:]
        self.tell(task.id, None, one)
        if begins and task.parent is not None:
            self.tell(task.parent, task.id, one)

    def tell(self, channel: UUID, child: UUID | None, one: LiveEvent) -> None:
        if channel in self.attached:
            self.on_the_way.append((channel, child, copy.copy(one)))

    def some(self, which: int, *, over: bool = False) -> Lived | None:
        """Return one of the tasks; only members are ever over."""
        tasks = [task for task in self.tasks.values() if task.over == over]
        return tasks[which % len(tasks)] if tasks else None

    @precondition(lambda self: len(self.tasks) < TASKS_MAX)
    @rule(parent=st.integers(0, TASKS_MAX), lost=st.booleans(), team=st.sampled_from("ab"))
    def submitted(self, parent: int, lost: bool, team: str) -> None:
        above = self.some(parent)
        assert above is not None
        task = Lived(next(self.ids), above.id, team)
        self.tasks[task.id] = task
        self.happens(task, "queued", dict(task.truth), Position(0, 0), lost=lost)

    @rule(which=st.integers(0, TASKS_MAX), done=st.integers(0, 99), lost=st.booleans())
    def progress(self, which: int, done: int, lost: bool) -> None:
        if (task := self.some(which)) is not None:
            self.happens(task, "progress", {"progress": {"done": done}}, lost=lost)

    @rule(which=st.integers(0, TASKS_MAX), size=st.integers(0, 300))
    def log(self, which: int, size: int) -> None:
        if (task := self.some(which)) is not None:
            self.happens(task, "log", {"line": "x" * size})

    @rule(which=st.integers(0, TASKS_MAX), new=st.booleans())
    def lifecycle(self, which: int, new: bool) -> None:
        # That the last event of an epoch was lost cannot be seen from the next epoch's first; see docs/protocol.md.
        if (task := self.some(which)) is not None:
            at = Position(task.at.epoch + 1, 0) if new and task.whole else None
            self.happens(task, "waiting", {"state": "waiting", "due_at": str(task.at)}, at)

    @rule(which=st.integers(0, TASKS_MAX), whole=st.booleans(), lost=st.booleans())
    def ends(self, which: int, whole: bool, lost: bool) -> None:
        task = self.some(which)
        if task is not None and task.id != TASK:
            data = {**task.truth, "state": "succeeded", "result": 7}
            self.happens(task, "succeeded", data if whole else {"state": "succeeded", "result": 7}, lost=lost)

    @rule(which=st.integers(0, TASKS_MAX), lost=st.booleans())
    def retried(self, which: int, lost: bool) -> None:
        if (task := self.some(which, over=True)) is not None:
            at = Position(task.at.epoch + 1, 0)
            data = {**task.truth, "state": "queued", "result": None, "progress": None, "epoch": at.epoch}
            self.happens(task, "queued", data, at, lost=lost)

    @rule(kinds=st.lists(st.sampled_from(["log", "progress", "waiting"]), min_size=3, max_size=8))
    def bursts_while_the_line_is_stalled(self, kinds: list[str]) -> None:
        self.driven.session.stalled = True
        for n, kind in enumerate(kinds):
            if kind == "log":
                self.log(n, 80)
            elif kind == "progress":
                self.progress(n, n, lost=False)
            else:
                self.lifecycle(n, new=False)
        self.deliver_all()

    # -- Redis

    @rule()
    def flushed(self) -> None:
        self.lost = True
        for task in self.tasks.values():
            task.flushed()

    @precondition(lambda self: self.on_the_way)
    @rule()
    def delivered(self) -> None:
        channel, child, one = self.on_the_way.popleft()
        if child is None:
            self.driven.event(one, channel)
        else:
            self.driven.session.child(channel, child, one, self.driven.now)

    def deliver_all(self) -> None:
        while self.on_the_way:
            self.delivered()

    @precondition(lambda self: self.on_the_way)
    @rule()
    def lost_on_the_channel(self) -> None:
        self.lost = True
        self.on_the_way.popleft()

    @rule()
    def intents_are_taken(self) -> None:
        """The edge attaches and detaches at once; what is to be read is read later."""
        intents = self.driven.session.intents.copy()
        self.driven.session.intents.clear()
        for intent in intents:
            match intent:
                case Lookup() | Descend():
                    self.wanted.append(intent)
                case Forget():
                    self.attached.discard(intent.task)
                case _:
                    raise AssertionError(intent)

    @rule()
    def attached_before_anything_is_read(self) -> None:
        """Or watched by somebody else here."""
        self.intents_are_taken()
        self.attached |= {intent.task for intent in self.wanted if isinstance(intent, Lookup)}

    @rule(first=st.booleans())
    def looked_up(self, first: bool) -> None:
        """Read what is wanted now; the answer comes later."""
        self.intents_are_taken()
        some, self.wanted = (self.wanted[:1], self.wanted[1:]) if first else (self.wanted, [])
        for intent in some:
            task = self.tasks[intent.task]
            if isinstance(intent, Descend):
                self.found.append((intent, list(self.children(intent.task))))
                continue
            if not self.driven.session.wants(intent.join):
                continue
            self.attached.add(task.id)
            if not task.redis.complete:
                self.seed(task)
            assert task.redis.at is not None
            history = tuple(map(copy.copy, task.history))
            shown = dict(task.redis.task)
            finished = shown.get("state") in TERMINAL
            view = View(task.redis.at, orjson.dumps(shown), finished, complete=task.redis.complete, history=history)
            covered = intent.grant is None or intent.grant.covers_members(shown)
            self.read.append((intent, view if covered else None))

    def children(self, parent: UUID) -> Iterable[tuple[UUID, Position]]:
        return ((task.id, task.postgres[1]) for task in self.tasks.values() if task.parent == parent)

    @rule(which=st.integers(0, TASKS_MAX))
    def somebody_else_looks_it_up(self, which: int) -> None:
        if (task := self.some(which)) is not None and not task.redis.complete:
            self.seed(task)

    def seed(self, task: Lived) -> None:
        before, complete = task.redis.at, task.redis.complete
        moves = task.redis.seed(*task.postgres)
        if moves or complete != task.redis.complete:
            assert task.redis.at is not None
            told = event(*task.redis.at, "waiting", {}, prev=before, task=task.id)
            told.kind = SEED if moves else MENDED
            self.tell(task.id, None, told)

    @precondition(lambda self: self.read)
    @rule()
    def answered(self) -> None:
        lookup, view = self.read.pop(0)
        if view is None:
            self.driven.session.refused(lookup.join, *FORBIDDEN)
        else:
            self.driven.session.joined(lookup.join, view, self.driven.now)

    @precondition(lambda self: self.found)
    @rule(away=st.booleans())
    def children_are_told(self, away: bool) -> None:
        """`away`: Postgres does not answer."""
        question, children = self.found.pop(0)
        self.lost = self.lost or away
        if not away:
            self.driven.session.children(question.question, children, self.driven.now)

    @rule()
    def audited(self) -> None:
        """The same steps as Edge.audit, with every task quiet."""
        for task in self.tasks.values():
            if task.id not in self.driven.session._following._by_task:
                continue
            known, gap = task.redis.at, not task.redis.complete
            row, at = task.postgres
            if known is not None:
                over = task.redis.task.get("state") in TERMINAL
                self.driven.session.resync(task.id, known, finished=over)
            if known is None or gap or at > known:
                self.seed(task)
            over = row["state"] in TERMINAL
            self.driven.session.resync(task.id, at, finished=over, force=known is not None and gap)
        self.driven.session.descend()

    # -- the client

    @rule(grant=st.sampled_from([EVERYTHING, ONE_TEAM]))
    def token_is_renewed(self, grant: Grant) -> None:
        self.driven.session._following.allow(grant)

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

    @rule()
    def reconnects(self) -> None:
        self.driven.session.lost()
        assert self.driven.session.outbox.size == 0
        self.wanted, self.read, self.found = [], [], []
        self.attached = set()
        self.on_the_way.clear()
        root, self.client = self.client.root, TreeClient()
        self.client.members[str(TASK)] = self.client.root = root
        self.connect()

    @invariant()
    def stays_open(self) -> None:
        if hasattr(self, "driven"):
            assert self.driven.session.closing is None

    @invariant()
    def is_counted_right(self) -> None:
        if hasattr(self, "driven"):
            outbox, following = self.driven.session.outbox, self.driven.session._following
            assert outbox.size == sum(entry.size for entry in outbox._entries)
            assert following._members == sum(len(tree) for tree in following._trees.values())
            followed = {sub for subs in following._by_task.values() for sub in subs}
            assert set(following._behind) == {sub for sub in followed if sub.behind}
            assert set(following._joining.values()) == {sub for sub in followed if sub.join}

    def teardown(self) -> None:
        """Let everything come to rest and compare; then let the root end."""
        if not hasattr(self, "driven"):
            return
        for task in self.tasks.values():
            if not task.over:
                self.happens(task, "waiting", {"state": "waiting", "due_at": None})
            task.postgres = (dict(task.truth), task.at)
        self.token_is_renewed(EVERYTHING)
        self.settle(audited=self.lost)
        assert self.client.tasks == {str(task.id): task.truth for task in self.tasks.values()}
        assert not self.client.root.ended
        root = self.tasks[TASK]
        self.happens(root, "succeeded", {"state": "succeeded"})
        self.settle()
        assert self.client.root.ended
        assert self.client.root.task == root.truth
        left = self.driven.session._following
        assert not any((left._by_task, left._trees, left._members, left._behind, left._joining))
        assert not self.attached

    @rule()
    def all_is_answered(self) -> None:
        """Nothing is lost or late for a while."""
        for _ in range(100):
            if not (self.on_the_way or self.wanted or self.read or self.found or self.driven.session.intents):
                return
            self.deliver_all()
            self.looked_up(first=False)
            while self.read:
                self.answered()
            while self.found:
                self.children_are_told(away=False)
        raise AssertionError("it never comes to rest")

    def settle(self, *, audited: bool = True) -> None:
        self.driven.session.stalled = False
        for _ in range(4):
            self.all_is_answered()
            self.sent(10**9)
            self.time_passes(1.0)
            if audited:
                self.audited()


TestTrees = Trees.TestCase
TestTrees.settings = settings(max_examples=80, stateful_step_count=40)
