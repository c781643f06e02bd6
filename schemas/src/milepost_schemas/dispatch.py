"""The hint that a task is ready: `milepost.work.QUEUE[.high|.low]`, key: task id."""

from uuid import UUID

from pydantic import Field

from milepost_schemas.base import Contract


class Dispatch(Contract):
    """A task was queued under this epoch. Losing, doubling or delaying the record changes nothing but latency."""

    task: UUID
    tenant: str
    type: str
    epoch: int
    key: str | None = Field(default=None, description="The task's key; left out by older writers.")
    more: bool = Field(default=False, description="Others of the tenant wait, or soon may, whose hints are withheld.")
