"""A row as the API and the relay show it."""

from typing import Any

import orjson

from milepost.runtime.tracing import trace_id_of
from milepost.store.records import PRIORITY_NAMES, Claimed, NewTask, Submitted
from milepost_schemas.position import Position
from milepost_schemas.task import RESULT_INLINE_BYTES

JSON_OPTIONS = orjson.OPT_UTC_Z
"""For everything that is written from a view: times in UTC with a Z."""


def _json(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


def inline_result(result: str | None) -> str | None:
    """Return the result's JSON text if it is small enough to be shown inside the task, else None."""
    return result if result is not None and len(result.encode()) < RESULT_INLINE_BYTES else None


def task_view(row: Any, *, with_result: bool = True) -> dict[str, Any]:
    """Return the members of a `Task` for `orjson.dumps(…, option=JSON_OPTIONS)`; `row` is a row of milepost.tasks."""
    return {
        "id": row["id"],
        "type": row["type"],
        "queue": row["queue"],
        "priority": PRIORITY_NAMES[row["priority"]],
        "state": row["state"],
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "epoch": row["epoch"],
        "labels": _json(row["labels"]),
        "key": row["key"],
        "parent_id": row["parent_id"],
        "root_id": row["root_id"],
        "progress": _json(row["progress"]),
        "result": _json(inline_result(row["result"])) if with_result else None,
        "error": _json(row["error"]),
        "created_at": row["created_at"],
        "due_at": row["due_at"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "trace_id": trace_id_of(row["traceparent"]),
    }


def new_task_view(task: NewTask, submitted: Submitted) -> dict[str, Any]:
    """Return what `task_view` would for the row that was just made of `task`, without reading it."""
    return {
        "id": submitted.id,
        "type": task.type,
        "queue": task.queue,
        "priority": task.priority,
        "state": submitted.state,
        "attempt": 0,
        "max_attempts": task.max_attempts,
        "epoch": 0,
        "labels": _json(task.labels),
        "key": task.key,
        "parent_id": task.parent_id,
        "root_id": task.root_id or submitted.id,
        "progress": None,
        "result": None,
        "error": None,
        "created_at": submitted.created_at,
        "due_at": submitted.due_at,
        "started_at": None,
        "finished_at": None,
        "trace_id": trace_id_of(task.traceparent),
    }


def claimed_view(task: Claimed) -> dict[str, Any]:
    """Return what `task_view` would for the row of a task that was just claimed: nothing came of it yet."""
    return {
        "id": task.id,
        "type": task.type,
        "queue": task.queue,
        "priority": PRIORITY_NAMES[task.priority],
        "state": "running",
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "epoch": task.epoch,
        "labels": _json(task.labels),
        "key": task.key,
        "parent_id": task.parent_id,
        "root_id": task.root_id,
        "progress": None,
        "result": None,
        "error": None,
        "created_at": task.created_at,
        "due_at": None,
        "started_at": task.started_at,
        "finished_at": None,
        "trace_id": trace_id_of(task.traceparent),
    }


def position(row: Any) -> Position:
    """Return the position Postgres knows the task to have reached; the live one may be further within the epoch."""
    return Position(row["epoch"], row["seq"])
