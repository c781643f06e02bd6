"""The public contract for other services: `milepost.completions`, key: task id."""

from typing import Literal
from uuid import UUID

from pydantic import Field, JsonValue

from milepost_schemas.base import Contract, Timestamp
from milepost_schemas.task import TaskError


class Completion(Contract):
    """A task reached a terminal state. Delivered at least once; duplicates carry the same `ce_id`."""

    task: UUID
    tenant: str
    root: UUID
    type: str
    queue: str
    state: Literal["succeeded", "failed", "cancelled"]
    epoch: int
    attempt: int
    labels: dict[str, str] = Field(default_factory=dict)
    result: JsonValue = Field(default=None, description="When it is below 64 KiB; else read it from the API.")
    error: TaskError | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp

    @property
    def id(self) -> str:
        """Identity of the completion, the same for every copy of it."""
        return f"{self.task}:{self.epoch}"
