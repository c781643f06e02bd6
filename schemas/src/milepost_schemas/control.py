"""Requests to whoever runs a task: `milepost.control`, key: task id, read by every worker without a group."""

from uuid import UUID

from milepost_schemas.base import Contract


class CancelRequest(Contract):
    """Somebody wants the task to stop. Only for speed: the request itself is in the task's row."""

    task: UUID
    tenant: str
