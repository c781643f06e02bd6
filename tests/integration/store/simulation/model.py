"""What must hold of the tasks in a store, in memory and without SQL: the states, who owns what, what is to be told.

Every move goes through `Model._move`, which takes only what the table of transitions allows that actor.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from milepost.domain.states import TRANSITIONS, Actor
from milepost.store import Held
from milepost_schemas.task import TaskState as S

OPEN = frozenset({S.SCHEDULED, S.QUEUED, S.RUNNING, S.WAITING})
TERMINAL = frozenset(S) - OPEN


class Move(NamedTuple):
    """One change of state or hands, as the database's own journal shows it. `epoch` is the one after it."""

    id: UUID
    source: S | None
    target: S
    before: int
    epoch: int
    attempt: int
    actor: Actor


@dataclass(slots=True)
class Task:
    """One task. `due`, `lapsed`, `late` and `old` are what time has done to it."""

    id: UUID
    max_attempts: int
    expires: bool
    state: S
    priority: int = 1
    key: str | None = None
    epoch: int = 0
    attempt: int = 0
    seq: int = 0
    worker: UUID | None = None
    asked: bool = False
    result: str | None = None
    error: str | None = None
    due: bool = False
    lapsed: bool = False
    late: bool = False
    old: bool = False
    parent: UUID | None = None

    @property
    def held(self) -> Held:
        """Its name in a fenced write of whoever owns it now."""
        return Held(self.id, self.epoch)


@dataclass(slots=True)
class Model:
    """All tasks of a store that starts empty. `outbox` says of each row whether somebody holds it."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    keys: dict[str, UUID] = field(default_factory=dict)
    outbox: dict[Held, bool] = field(default_factory=dict)
    history: dict[Held, tuple[int, str]] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    """Those since somebody last looked."""
    owners: dict[Held, UUID] = field(default_factory=dict)
    """Who was given which epoch: one worker, once."""
    ended: dict[Held, S] = field(default_factory=dict)
    """Every terminal state that ever was: each has its completion."""
    cancellations: set[UUID] = field(default_factory=set)
    """Whose descendants are to be looked at."""
    replayed: dict[UUID, int] = field(default_factory=dict)
    """How many tasks each replay has planned, one an hour."""
    present: set[UUID] = field(default_factory=set)
    """Workers that say they hold their presence lock."""
    locks: set[UUID] = field(default_factory=set)
    """Those that do."""

    def _move(self, task: Task, name: str, target: S, actor: Actor) -> None:
        (move,) = (t for t in TRANSITIONS if t[:4] == (name, task.state, target, actor))
        source, before = task.state, task.epoch
        if move.bumps:
            task.epoch, task.seq = before + 1, 0
        task.state = target
        if source is S.RUNNING:
            task.lapsed = False
        if name == "due":
            task.old = False  # what is released or taken back keeps its place in the queue
        if target in TERMINAL:
            self.outbox[task.held] = False
            self.ended[task.held] = target
        self.moves.append(Move(task.id, source, target, before, task.epoch, task.attempt, actor))

    # -- the api

    def submit(
        self,
        id_: UUID,
        key: str | None,
        max_attempts: int,
        parent: UUID | None,
        priority: int,
        kind: str | None,
        *,
        later: bool,
        expires: bool,
    ) -> UUID:
        """Return the id of the task that stands for this submission."""
        if id_ in self.tasks:
            return id_
        if key is not None and key in self.keys:
            return self.keys[key]
        task = Task(id_, max_attempts, expires, S.SCHEDULED if later else S.QUEUED, priority, kind, parent=parent)
        self.tasks[id_] = task
        if key is not None:
            self.keys[key] = id_
        self.moves.append(Move(id_, None, task.state, 0, 0, 0, Actor.API))
        return id_

    def children(self, parent: UUID) -> list[Task]:
        """Return the tasks that name it as their parent."""
        return [task for task in self.tasks.values() if task.parent == parent]

    def cancel(self, id_: UUID) -> tuple[bool, bool]:
        """Return whether this call ended the task, and whether there may be something below to see to."""
        task = self.tasks[id_]
        tree = task.state is S.RUNNING or (task.state not in {S.SUCCEEDED, S.FAILED} and bool(self.children(id_)))
        if tree:
            self.cancellations.add(id_)
        return self._cancel_one(task), tree

    def _cancel_one(self, task: Task) -> bool:
        if task.state in TERMINAL:
            return False
        task.asked = True
        if task.state is S.RUNNING:
            return False
        self._move(task, "cancel", S.CANCELLED, Actor.API)
        return True

    def see_to(self, root: UUID) -> tuple[set[UUID], set[UUID]]:
        """Cancel what is below a task; return who ended by that, and who was asked to stop."""
        ended, asked = set(), set()
        left = self.children(root)
        while left:
            task = left.pop()
            left += self.children(task.id)
            if self._cancel_one(task):
                ended.add(task.id)
            elif task.state is S.RUNNING:
                asked.add(task.id)
        if self.tasks[root].state in TERMINAL and not asked:
            self.cancellations.discard(root)
        return ended, asked

    def replay(self, ids: list[UUID], replay: UUID, states: list[S], *, paced: bool) -> list[UUID]:
        """Have finished tasks run again, an hour apart if `paced`; return which."""
        asked = sorted(id_ for id_ in set(ids) if self.tasks[id_].state in states)
        planned = self.replayed.get(replay, 0)
        for place, id_ in enumerate(asked):
            task = self.tasks[id_]
            self.history[task.held] = (task.attempt, task.state)
            self.cancellations.discard(id_)
            later = paced and planned + place > 0
            task.attempt, task.result, task.error, task.worker, task.asked = 0, None, None, None, False
            task.due = paced and not later
            task.late = task.old = False
            self._move(task, "replay", S.SCHEDULED if later else S.QUEUED, Actor.API)
        if asked and paced:
            self.replayed[replay] = planned + len(asked)
        return asked

    # -- workers

    def claimable(self, hint: Held) -> bool:
        """Whether a hint is worth something."""
        task = self.tasks[hint.id]
        return task.state is S.QUEUED and task.epoch == hint.epoch and not task.late

    def claim(self, id_: UUID, worker: UUID) -> Held:
        """Give the task to a worker; return the epoch that is its alone."""
        task = self.tasks[id_]
        assert not task.late, "started although it had expired"
        task.attempt += 1
        assert task.attempt <= task.max_attempts, f"attempt {task.attempt} of {task.max_attempts}"
        task.worker, task.error = worker, None
        self._move(task, "claim", S.RUNNING, Actor.WORKER)
        assert task.held not in self.owners, "an epoch was given twice"
        self.owners[task.held] = worker
        return task.held

    def owned(self, held: Held) -> Task | None:
        """Return the task if `held` still owns it; None for a zombie."""
        task = self.tasks[held.id]
        return task if task.state is S.RUNNING and task.epoch == held.epoch else None

    def renew(self, held: Held, seq: int) -> bool | None:
        """Return whether a cancel was asked for; None for a zombie, and for what its worker gave up."""
        task = self.owned(held)
        if task is None or task.error is not None:
            return None
        task.seq, task.lapsed = max(task.seq, seq), False
        return task.asked

    def finish(self, held: Held, seq: int, state: S, result: str | None, error: str | None) -> S | None:
        """Return the state it led to; None for a zombie."""
        if (task := self.owned(held)) is None:
            return None
        task.seq, task.result, task.error = seq, result, error
        self._move(task, "finish", state, Actor.WORKER)
        return state

    def retry(self, held: Held, seq: int, error: str, *, now: bool) -> S | None:
        """Return the state it led to; None for a zombie. `now`: with no delay."""
        if (task := self.owned(held)) is None:
            return None
        task.seq, task.error, task.due = seq, error, now
        if task.asked:
            self._move(task, "finish", S.CANCELLED, Actor.WORKER)
            return S.CANCELLED
        self.history[held] = (task.attempt, "failed")
        self._move(task, "retry", S.SCHEDULED, Actor.WORKER)
        return S.SCHEDULED

    def release(self, held: Held, seq: int) -> S | None:
        """Return the state it led to; None for a zombie."""
        if (task := self.owned(held)) is None:
            return None
        task.seq = seq
        if task.asked:
            self._move(task, "finish", S.CANCELLED, Actor.WORKER)
            return S.CANCELLED
        task.attempt = max(task.attempt - 1, 0)
        self.history[held] = (task.attempt, "released")
        self._move(task, "release", S.QUEUED, Actor.WORKER)
        return S.QUEUED

    def abandon(self, held: Held, reason: str, *, counts: bool) -> bool:
        """Leave a task to the sweep; return whether it was ours to leave, and had not been left before."""
        task = self.owned(held)
        if task is None or task.error is not None:
            return False
        task.error, task.lapsed = reason, True
        if not counts and task.attempt > 0:
            task.attempt -= 1
            self.moves.append(Move(task.id, S.RUNNING, S.RUNNING, task.epoch, task.epoch, task.attempt, Actor.WORKER))
        return True

    # -- passes

    def lost(self, dead: AbstractSet[UUID] = frozenset()) -> list[UUID]:
        """What a sweeper may take back, if those workers are dead."""
        return [t.id for t in self.tasks.values() if t.state is S.RUNNING and (t.lapsed or t.worker in dead)]

    def sweep(self, id_: UUID) -> None:
        """Take back a task whose lease ran out, whose worker is dead, or that was given up."""
        task = self.tasks[id_]
        released = task.error == "Released"
        self.history[task.held] = (task.attempt, "released" if released else "lease_lost")
        target = S.CANCELLED if task.asked else S.FAILED if task.attempt >= task.max_attempts else S.QUEUED
        task.error = None if released else task.error or "LeaseLost"
        self._move(task, "sweep", target, Actor.SWEEPER)

    def waiting(self) -> list[UUID]:
        """What the due pass may queue."""
        return [t.id for t in self.tasks.values() if t.state is S.SCHEDULED and t.due and not t.late]

    def queue(self, id_: UUID) -> None:
        """Queue a scheduled task whose time has come."""
        assert id_ in self.waiting(), "queued before its time"
        self._move(self.tasks[id_], "due", S.QUEUED, Actor.DUE_PASS)

    def overdue(self) -> list[UUID]:
        """What nobody started in time."""
        return [t.id for t in self.tasks.values() if t.state in {S.SCHEDULED, S.QUEUED} and t.late]

    def expire(self, id_: UUID) -> None:
        """Fail a task nobody started in time."""
        task = self.tasks[id_]
        assert task.late, "failed before its time"
        task.error = "Expired"
        self._move(task, "expire", S.FAILED, Actor.DUE_PASS)
