"""What live workers say of themselves."""

from typing import Any
from uuid import UUID

from pydantic import Field

from milepost_schemas.base import Contract, Timestamp


class TypeInfo(Contract):
    """A task type as a worker announces it."""

    type: str
    queue: str
    max_attempts: int
    timeout: float | None = Field(default=None, description="Seconds one attempt may take; null: no limit.")
    total_timeout: float | None = Field(
        default=None, description="Seconds all attempts may take, waits included; null: no limit."
    )
    isolation: str = "inline"
    description: str | None = None
    payload_schema: dict[str, Any] = Field(default_factory=dict, description="JSON Schema 2020-12.")
    result_schema: dict[str, Any] | None = None
    workers: int = Field(default=0, description="Live workers that run it.")


class WorkerInfo(Contract):
    """A live worker process."""

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    types: list[str]
    slots: int
    running: int
    draining: bool = False
    started_at: Timestamp
    seen_at: Timestamp
