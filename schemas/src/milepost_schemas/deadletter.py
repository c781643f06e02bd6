"""What failed for good: tasks, and records nobody could read; and how to have it tried again."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from milepost_schemas.base import Contract, Request, Timestamp
from milepost_schemas.task import Name, Task, TaskError

REPLAY_MOST = 5_000
"""Tasks one request may replay."""

Kind = Literal["task", "record"]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class Attempt(Contract):
    """One run of a task."""

    attempt: int = Field(description="Its number among those that count; a released one gave its number back.")
    epoch: int
    outcome: Literal["running", "succeeded", "failed", "cancelled", "lease_lost", "released"]
    error: TaskError | None = None
    worker: UUID | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class AttemptList(Contract):
    """Runs of a task, the newest first, 200 at most."""

    items: list[Attempt]


class Origin(Contract):
    """Where a record was read that could not be processed."""

    topic: str
    partition: int
    offset: int


class DeadLetter(Contract):
    """A task that failed for good, or a record that could not be processed."""

    kind: Kind
    id: UUID
    type: str = Field(description="The task's type; of a record the topic it was read from.")
    fingerprint: str = Field(description="The same for failures of one kind.")
    error: TaskError
    at: Timestamp = Field(description="When it failed, or was put aside.")
    attempt: int | None = Field(default=None, description="Runs the task had.")
    origin: Origin | None = None
    replayed_at: Timestamp | None = Field(default=None, description="When a record was last sent again.")


class RecordHeader(Contract):
    """One header of a record."""

    name: str
    value: str = Field(description="Base64.")


class RecordContent(Contract):
    """A record as it was read. Keys and values are base64: they may be anything."""

    key: str | None = None
    value: str | None = Field(default=None, description="Its beginning only, if `cut`; null: there was none.")
    size: int = Field(description="Bytes of the whole value.")
    cut: bool = False
    headers: list[RecordHeader] = Field(default_factory=list)


class DeadLetterDetail(DeadLetter):
    """A dead letter with all that is known of it."""

    task: Task | None = None
    attempts: list[Attempt] = Field(default_factory=list)
    record: RecordContent | None = None


class DeadLetterGroup(Contract):
    """Dead letters of one kind of failure."""

    kind: Kind
    type: str
    fingerprint: str
    error: TaskError = Field(description="That of the newest.")
    count: int
    count_is_minimum: bool = Field(default=False, description="There are more; nobody counted on.")
    newest: UUID
    newest_at: Timestamp
    oldest: UUID
    oldest_at: Timestamp


class DeadLetterGroups(Contract):
    """One page of groups: those of tasks, then those of records, by fingerprint."""

    items: list[DeadLetterGroup]
    next: str | None = Field(default=None, description="Opaque cursor: pass it as `cursor`.")


class DeadLetterPage(Contract):
    """One page of a group's members, the newest first."""

    items: list[DeadLetter]
    next: str | None = Field(default=None, description="Opaque cursor: pass it as `cursor`.")


class ReplayRequest(Request):
    """Which dead letters to try again, and how fast. All that is said of them must hold."""

    kind: Kind = "task"
    ids: list[UUID] | None = Field(default=None, min_length=1, max_length=REPLAY_MOST)
    fingerprint: Fingerprint | None = None
    type: Name | None = None
    queue: Name | None = None
    failed_from: Timestamp | None = None
    failed_before: Timestamp | None = None
    all: bool = Field(default=False, description="Needed when nothing else says which.")
    rate: float | None = Field(default=None, gt=0, le=10_000, description="Tasks a second; null: all at once.")
    limit: int = Field(default=1_000, ge=1, le=REPLAY_MOST, description="At most so many in this request.")
    dry_run: bool = Field(default=False, description="Only say which it would be.")
    replay: UUID | None = Field(
        default=None,
        description="The same id goes on with the same replay: its pace, and what had failed when it began.",
    )

    @model_validator(mode="after")
    def _which(self) -> "ReplayRequest":
        given = (self.ids, self.fingerprint, self.type, self.queue, self.failed_from, self.failed_before)
        if not self.all and all(one is None for one in given):
            raise ValueError(
                "say which dead letters: ids, fingerprint, type, queue, failed_from, failed_before, or all"
            )
        if self.kind == "record" and (self.rate is not None or self.queue is not None):
            raise ValueError("records have no queue, and are sent again at once: leave out rate and queue")
        return self


class Refusal(Contract):
    """A dead letter that was left where it is."""

    id: UUID
    reason: str


class Replayed(Contract):
    """What a replay did, or, in a dry run, would do."""

    replay: UUID = Field(description="Repeat the request with it to go on.")
    dry_run: bool
    count: int
    ids: list[UUID]
    more: bool = Field(description="Others match: repeat the request with `replay`.")
    last_due_at: Timestamp | None = Field(default=None, description="When the last of them becomes due.")
    refused: list[Refusal] = Field(default_factory=list)
