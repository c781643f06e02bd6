"""Rows in and out of the store. JSON is carried as text: what a worker sent is what Postgres keeps."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from milepost_schemas.position import Position
from milepost_schemas.task import Priority, TaskState

PRIORITIES = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
PRIORITY_NAMES = {number: priority for priority, number in PRIORITIES.items()}


class NewTask(NamedTuple):
    """A task to be stored; its defaults are already filled in."""

    id: UUID
    tenant: str
    type: str
    queue: str
    priority: Priority
    max_attempts: int
    payload: str
    timeout_s: float | None = None
    labels: str = "{}"
    key: str | None = None
    parent_id: UUID | None = None
    root_id: UUID | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    run_at: datetime | None = None
    delay: float | None = None
    expires_in: float | None = None
    total_timeout_s: float | None = None
    counted_bytes: int | None = None
    """Size of the payload, if its tenant has a quota of what waits."""


class Waiting(NamedTuple):
    """What waits of a tenant, queued or scheduled, as far as it was counted."""

    tasks: int
    bytes: int


class Submitted(NamedTuple):
    """What became of a NewTask.

    `before` is None for a task that is now stored; otherwise the row of the task that was stored earlier under the
    same idempotency key, and nothing was stored now.
    """

    id: UUID
    state: TaskState
    created_at: datetime
    due_at: datetime | None
    before: Any | None = None


class Child(NamedTuple):
    """One child of a task, as far as the relay has to know it. `at` is the position Postgres knows."""

    tenant: str
    parent: UUID
    id: UUID
    at: Position
    over: bool


class Held(NamedTuple):
    """A task under an epoch: what a fenced write names."""

    id: UUID
    epoch: int


class Claimed(NamedTuple):
    """A task that is now ours to run, under `epoch`, until the lease runs out."""

    id: UUID
    tenant: str
    type: str
    queue: str
    priority: int
    epoch: int
    attempt: int
    max_attempts: int
    timeout_s: float | None
    payload: str
    labels: str
    key: str | None
    parent_id: UUID | None
    root_id: UUID
    traceparent: str | None
    started_at: datetime
    created_at: datetime
    left_s: float | None = None
    """Seconds from the claim to the end of the task's total time, by the database's clock; None: without end."""
    waited_s: float | None = None
    """Seconds from when it was queued to the claim, by the database's clock; None: it had been started since."""

    @property
    def held(self) -> Held:
        """What every write about it names."""
        return Held(self.id, self.epoch)


class Finish(NamedTuple):
    """A terminal state, written by the worker of the epoch. `seq` is that of the terminal event.

    `run`, here and below, is the traceparent of the attempt's span; None: it has none.
    """

    held: Held
    seq: int
    state: TaskState
    result: str | None = None
    error: str | None = None
    progress: str | None = None
    run: str | None = None


class Retry(NamedTuple):
    """A failed attempt that is to be followed by another after `delay` seconds."""

    held: Held
    seq: int
    delay: float
    error: str
    progress: str | None = None
    run: str | None = None


class Release(NamedTuple):
    """A task given back unfinished, its attempt not counted."""

    held: Held
    seq: int
    run: str | None = None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A task its worker lets go of, for the sweep to take back at once.

    `error` is JSON text, of a TaskError: why. `counts` says whether the attempt counts.
    """

    held: Held
    error: str
    counts: bool


class Moved(NamedTuple):
    """The state a fenced write led to, as Postgres decided it (a cancel request may have come in between)."""

    state: TaskState
    attempt: int | None = None
    due_at: datetime | None = None
    finished_at: datetime | None = None


class Renewed(NamedTuple):
    """A lease that was kept; `cancel` says whether somebody asked the task to stop."""

    held: Held
    cancel: bool


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """`row` is the task after the call; `moved` says that this call ended it (and must tell the world).

    `tree`: there are descendants, or there may yet be some; they were noted and are to be cancelled too.
    """

    row: Any
    moved: bool
    tree: bool = False


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """What a worker says of itself every few seconds."""

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    types: list[str]
    slots: int
    running: int
    draining: bool
    presence: bool = False
    """Whether it holds its presence lock, so that a free lock means that it is dead."""
    rates: str | None = None
    """What ended a second of late, as JSON text: {queue: {tenant: rate}}; None: nothing did."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tasks of a tenant to list, newest first. None means any."""

    states: list[str] | None = None
    type: str | None = None
    queue: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    parent_id: UUID | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    after: UUID | None = None
    limit: int = 50
    root_id: UUID | None = None
    """That task, if it has no parent, and all below it."""
