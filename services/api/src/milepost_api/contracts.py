"""Shapes of responses only this service has."""

from datetime import datetime

from pydantic import Field

from milepost_schemas import Problem, SubmitTask, Task, TypeInfo, WorkerInfo
from milepost_schemas.base import Contract, Request


class BatchItem(SubmitTask):
    """One task of a batch, as POST /v1/tasks takes it, with its idempotency key as a member."""

    idempotency_key: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")


class Batch(Request):
    """Up to 1,000 tasks; each is accepted or refused on its own."""

    tasks: list[BatchItem] = Field(min_length=1, max_length=1000)


class BatchResult(Contract):
    """What became of one task: `task` if it was accepted, `problem` if not."""

    status: int = Field(description="What POST /v1/tasks would have answered.")
    task: Task | None = None
    problem: Problem | None = None
    replayed: bool = Field(default=False, description="Its idempotency key had been used for this very task.")


class BatchAnswer(Contract):
    """One result for each task sent, in the same order."""

    results: list[BatchResult]


class TypeList(Contract):
    """Every type a worker has ever announced, by name."""

    items: list[TypeInfo]


class WorkerList(Contract):
    """Live workers, oldest first."""

    items: list[WorkerInfo]


class Check(Contract):
    """One thing this service needs."""

    ok: bool
    detail: str
    since: datetime = Field(description="When it was first seen to be so.")
    meanwhile: str | None = Field(default=None, description="While it is not ok: what goes on, and what waits.")


class Readiness(Contract):
    """ready: all is well. degraded: requests are served, but something is missing. unready: send no requests."""

    status: str
    checks: dict[str, Check]


class Liveness(Contract):
    """The process runs."""

    status: str = "alive"
