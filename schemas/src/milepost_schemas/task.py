"""The task as people and programs outside see it, and what they send to make one."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from milepost_schemas.base import Contract, Request, Timestamp
from milepost_schemas.queues import queue_problem

RESULT_INLINE_BYTES = 64 * 1024
"""A result larger than this is not shown inside the task; `links.result` leads to it."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Of a task type or a queue: also legal in a topic's name and in a URL."""


def _fit_for_a_queue(name: str) -> str:
    if problem := queue_problem(name):
        raise ValueError(problem)
    return name


QueueName = Annotated[Name, AfterValidator(_fit_for_a_queue)]
Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of printable text."""
Labels = Annotated[dict[Name, Text], Field(max_length=32)]


class TaskState(StrEnum):
    """The states of docs/states.md."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing happens to the task any more unless a person retries it."""
        return self in {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED}


class Priority(StrEnum):
    """The lane a task is dispatched in."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Progress(Contract):
    """How far a task says it has come."""

    done: float = Field(description="Units finished.")
    total: float | None = Field(default=None, description="Units in all; null while nobody knows.")
    unit: str | None = Field(default=None, description="What is counted, such as `files`.")
    message: str | None = Field(default=None, description="What it is doing now, for a person.")
    rate: float | None = Field(default=None, description="Units a second over the last updates.")
    eta: float | None = Field(default=None, description="Seconds until the end at that rate.")


class TaskError(Contract):
    """Why an attempt failed. Of a task that is to be retried: why the last one did."""

    type: str = Field(description="The exception's class, or one of Milepost's own names such as `LeaseLost`.")
    message: str
    retryable: bool = True
    traceback: str | None = Field(default=None, description="The last lines of the handler's traceback.")
    fingerprint: str | None = Field(
        default=None, description="The same for failures of one kind: task type, error type, message without its data."
    )


class Links(Contract):
    """Where to go from here. Paths are relative to the API; `stream` is a WebSocket's URL, `events` that of SSE."""

    self: str
    result: str
    events: str
    cancel: str
    stream: str


class Task(Contract):
    """A task as the API shows it."""

    id: UUID = Field(description="UUIDv7.")
    type: str
    queue: str
    priority: Priority
    state: TaskState
    attempt: int = Field(description="Runs so far that count against `max_attempts`.")
    max_attempts: int
    epoch: int = Field(description="Fencing token: grows with every change of hands.")
    labels: dict[str, str] = Field(default_factory=dict)
    key: str | None = Field(default=None, description="Tasks of one key share its concurrency limit.")
    parent_id: UUID | None = None
    root_id: UUID
    progress: Progress | None = None
    result: JsonValue = Field(default=None, description="Present when it is below 64 KiB.")
    error: TaskError | None = None
    created_at: Timestamp
    due_at: Timestamp | None = None
    started_at: Timestamp | None = Field(default=None, description="Start of the last attempt.")
    finished_at: Timestamp | None = None
    trace_id: str | None = None
    links: Links | None = None


class TaskPage(Contract):
    """One page of a list. `next` is null on the last one."""

    items: list[Task]
    next: str | None = Field(default=None, description="Opaque cursor: pass it as `cursor`.")


class SubmitTask(Request):
    """What a caller says of a new task. What is left out comes from the type as its worker announced it."""

    type: Name
    payload: dict[str, JsonValue] = Field(default_factory=dict)
    queue: QueueName | None = None
    priority: Priority = Priority.NORMAL
    run_at: Timestamp | None = Field(default=None, description="Not before this instant.")
    delay: float | None = Field(default=None, ge=0, le=366 * 86400, description="Not before so many seconds.")
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    timeout: float | None = Field(default=None, gt=0, le=30 * 86400, description="Seconds one attempt may take.")
    total_timeout: float | None = Field(
        default=None,
        gt=0,
        le=366 * 86400,
        description="Seconds until it must have ended, over all attempts and the waits between them; counted from the "
        "submission, or from run_at or delay if it has one.",
    )
    expires_in: float | None = Field(
        default=None, gt=0, le=366 * 86400, description="Seconds after which it is not worth starting."
    )
    key: Text | None = None
    labels: Labels = Field(default_factory=dict)
    parent_id: UUID | None = None

    @model_validator(mode="after")
    def _one_start(self) -> "SubmitTask":
        if self.run_at is not None and self.delay is not None:
            raise ValueError("give run_at or delay, not both")
        if self.delay is not None and self.expires_in is not None and self.expires_in <= self.delay:
            raise ValueError("expires_in is over before delay is: the task could never start")
        return self
