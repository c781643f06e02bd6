"""What happened to a task: `milepost.events`, key: root task id."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field

from milepost_schemas.base import Contract
from milepost_schemas.position import Position


class EventKind(StrEnum):
    """Kinds of 02-relay: lifecycle, progress, and what handlers stream."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    STARTED = "started"
    PROGRESS = "progress"
    STEP = "step"
    LOG = "log"
    OUTPUT = "output"
    WAITING = "waiting"
    RETRYING = "retrying"
    LEASE_LOST = "lease_lost"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether it is the last of its task, unless a person retries that."""
        return self in _TERMINAL

    @property
    def patches(self) -> bool:
        """Whether `data` is a patch of the task (and not something streamed beside it)."""
        return self not in _STREAMED


# Asked of every event that passes, so not made anew each time.
_TERMINAL = frozenset({EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED})
_STREAMED = frozenset({EventKind.STEP, EventKind.LOG, EventKind.OUTPUT})


class Event(Contract):
    """One thing that happened, at one position.

    `data` of a kind that patches holds members of the task with their new values: a task is the fold of its events.
    """

    # Not frozen: whoever reads one adds the traceparent, and a copy would cost two fifths of what reading it does.
    model_config = ConfigDict(frozen=False)

    task: UUID
    tenant: str
    root: UUID
    at: Position
    merged: int = Field(
        default=0, ge=0, description="So many earlier events of this epoch, with the numbers before, are in this one."
    )
    kind: EventKind
    # Whatever its offset: each event would pay for making it UTC, and nobody computes with it.
    time: AwareDatetime = Field(description="For people. Order comes from `at` alone.")
    data: dict[str, Any] = Field(default_factory=dict)
    traceparent: str | None = Field(default=None, description="Of the task; travels as a record header.", exclude=True)
