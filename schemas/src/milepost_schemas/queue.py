"""Queues and limits, as people set and see them; and why a task does not run."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from milepost_schemas.base import Contract, Request, Timestamp
from milepost_schemas.task import TaskState, Text

DEPTH_MOST = 100_000
"""No more tasks are counted than these."""


class LimitScope(StrEnum):
    """Which tasks share a limit."""

    QUEUE = "queue"
    TYPE = "type"
    KEY = "key"
    TENANT = "tenant"


class Rate(Request):
    """So many starts in so many seconds: the first so many may come at once, then as evenly as they are asked for."""

    count: int = Field(ge=1, le=1_000_000)
    per: float = Field(gt=0, le=366 * 86400, description="Seconds.")


class Bounds(Request):
    """What a limit is to be; null or left out: no bound."""

    concurrency: int | None = Field(default=None, ge=0, le=1_000_000, description="So many run at once.")
    rate: Rate | None = None


class LimitRequest(Bounds):
    """A limit to be set. It takes the place of the one before; without bounds it ends."""

    scope: LimitScope
    name: Text | None = Field(
        default=None,
        description="Of the queue, type, key or tenant; left out: for each key or tenant that has none of its own.",
    )
    all_tenants: bool = Field(
        default=False,
        description="Whether tasks of all tenants share it (a queue or a type); set by the installation's own tenant.",
    )

    @model_validator(mode="after")
    def _named(self) -> "LimitRequest":
        if not self.name and self.scope in {LimitScope.QUEUE, LimitScope.TYPE}:
            raise ValueError(f"a limit on a {self.scope} needs its name")
        if self.all_tenants and self.scope in {LimitScope.KEY, LimitScope.TENANT}:
            raise ValueError(f"a limit on a {self.scope} is not shared by all tenants")
        return self


class ShownRate(Contract):
    """So many starts in so many seconds."""

    count: int
    per: float


class Limit(Contract):
    """A limit as it holds. `name` is null where it is for each key or tenant without one of its own."""

    scope: LimitScope
    name: str | None
    all_tenants: bool = Field(description="Whether tasks of all tenants share it.")
    concurrency: int | None = None
    rate: ShownRate | None = None
    paused_at: Timestamp | None = Field(default=None, description="Of a queue: paused since then.")


class LimitList(Contract):
    """The limits and pauses a tenant's tasks stand under."""

    items: list[Limit]


KEPT_LEAST_S = 3600
"""No finished task is deleted sooner."""
Kept = Annotated[float, Field(ge=KEPT_LEAST_S, le=100 * 366 * 86400)] | Literal["forever"]


class RetentionRequest(Request):
    """For how long finished tasks of a queue are kept; null or left out: as the settings say."""

    finished: Kept | None = Field(
        default=None, description="Those that succeeded or were cancelled: seconds since their end, or `forever`."
    )
    failed: Kept | None = Field(default=None, description="Those that failed.")


class Retention(Contract):
    """For how long finished tasks of a queue are kept, in seconds since their end; then they are deleted."""

    finished: float | Literal["forever"] = Field(description="Those that succeeded or were cancelled.")
    failed: float | Literal["forever"] = Field(description="Those that failed.")


class Queue(Contract):
    """A queue as a tenant sees it: its own tasks, and the workers all share."""

    queue: str
    depth: int = Field(description=f"Tasks that wait to be started; {DEPTH_MOST:,} stands for that many and more.")
    oldest_age: float | None = Field(description="Seconds since the oldest of them was queued; null: none waits.")
    running: int
    rate: float = Field(description="Tasks that ended a second, over the last few seconds.")
    workers: int = Field(description="Live workers that serve it.")
    slots: int = Field(description="Tasks they run at once, of whatever queue and tenant.")
    paused_at: Timestamp | None = Field(default=None, description="Since when it is paused; null: it is not.")
    limits: list[Limit] = Field(default_factory=list, description="Those on the queue itself.")
    retention: Retention | None = Field(default=None, description="How long finished tasks are kept.")


class QueueList(Contract):
    """Queues that workers serve, or in which the tenant has tasks or limits, by name."""

    items: list[Queue]


class Reason(StrEnum):
    """Why a task is where it is."""

    NOT_DUE = "not_due"
    PAUSED = "paused"
    LIMIT = "limit"
    NO_WORKER = "no_worker"
    IN_LINE = "in_line"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    OVER = "over"


class LimitReached(Contract):
    """A limit without room, and who takes it."""

    limit: Limit
    running: int = Field(description="Tasks that count for it and run.")
    held_by: list[UUID] = Field(description="Some of them, of your own, longest running first.")
    free_in: float | None = Field(default=None, description="Seconds until its rate lets the next start.")


class Lease(Contract):
    """By whom a running task is held."""

    worker: UUID | None
    name: str | None = Field(default=None, description="The worker's name; null if it is gone.")
    host: str | None = None
    until: Timestamp | None = Field(description="It is taken back then, unless the worker renews it.")


class Explanation(Contract):
    """Why a task is not running, or where it does. `detail` says it in a sentence."""

    task: UUID
    state: TaskState
    reason: Reason
    detail: str
    due_at: Timestamp | None = None
    queued_for: float | None = Field(default=None, description="Seconds.")
    position: int | None = Field(
        default=None,
        description="Its place among the tenant's own tasks in the queue, by priority and age, from 1; types and keys "
        "take turns, so it may come earlier or later.",
    )
    workers: int | None = Field(default=None, description="Live workers that serve its queue and know its type.")
    slots: int | None = Field(default=None, description="Tasks these run at once.")
    paused_at: Timestamp | None = None
    limit: LimitReached | None = None
    lease: Lease | None = None


class TaskEvent(Contract):
    """Something that happened to a task. `at` is its position; null for what only Postgres remembers."""

    kind: str
    at: Annotated[list[int] | None, Field(description="[epoch, seq].")] = None
    time: datetime | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class EventList(Contract):
    """What happened to a task, oldest first."""

    source: str = Field(description="`history`: the live history; `store`: it is gone, and Postgres remembers less.")
    items: list[TaskEvent]
