"""Postgres: the owner of every task. SQL in `sql/`, tables in `migrations/`, one thin class over both."""

from milepost.store.connection import open_pool
from milepost.store.limits import Limited
from milepost.store.migrate import migrate, pending
from milepost.store.records import (
    CancelOutcome,
    Child,
    Claimed,
    Filters,
    Finish,
    GivenUp,
    Held,
    Moved,
    NewTask,
    Release,
    Renewed,
    Retry,
    Submitted,
    WorkerBeat,
)
from milepost.store.session import Session, open_session
from milepost.store.store import Store
from milepost.store.view import new_task_view, task_view

__all__ = [
    "CancelOutcome",
    "Child",
    "Claimed",
    "Filters",
    "Finish",
    "GivenUp",
    "Held",
    "Limited",
    "Moved",
    "NewTask",
    "Release",
    "Renewed",
    "Retry",
    "Session",
    "Store",
    "Submitted",
    "WorkerBeat",
    "migrate",
    "new_task_view",
    "open_pool",
    "open_session",
    "pending",
    "task_view",
]
