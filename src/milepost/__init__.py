"""Milepost: long tasks for an HTTP API, with progress people can watch live.

from milepost import Client, SyncClient, Context, Permanent, RetryAfter, task
"""

from typing import TYPE_CHECKING, Any

from milepost.domain.retry import RetryPolicy
from milepost.errors import (
    Cancelled,
    MilepostError,
    Permanent,
    Refused,
    RetryAfter,
    TaskFailed,
    Unreachable,
)
from milepost.tasks import Context, task

if TYPE_CHECKING:
    from milepost.client import Client, Run, SyncClient

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Client",
    "Context",
    "MilepostError",
    "Permanent",
    "Refused",
    "RetryAfter",
    "RetryPolicy",
    "Run",
    "SyncClient",
    "TaskFailed",
    "Unreachable",
    "__version__",
    "task",
]


def __getattr__(name: str) -> Any:
    # The client brings an HTTP library; a worker that imports `task` should not pay for it.
    if name in {"Client", "Run", "SyncClient"}:
        from milepost import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
