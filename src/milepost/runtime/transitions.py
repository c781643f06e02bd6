"""The log's line for each move of a task, written by whoever made it, once it is committed (docs/operations.md).

A move has one line in the whole system, unless the answer to the statement that made it was lost: then it has none.
"""

import logging
from typing import Any, Final
from uuid import UUID

from milepost.runtime.logs import logs_at, write_fields
from milepost.runtime.tracing import trace_id_of

ERROR_CHARS: Final = 200
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING}


def moved(
    by: str,
    task: UUID,
    tenant: str,
    type_: str,
    queue: str,
    source: str | None,
    target: str,
    attempt: int,
    epoch: int,
    traceparent: str | None,
    *,
    level: str = "info",
    **more: Any,
) -> None:
    """Log a move: `by` is its name in docs/states.md, `source` is None for a task that is new."""
    if not logs_at(_LEVELS[level]):
        return
    if (error := more.get("error")) is not None:
        more["error"] = on_a_line(error)
    fields = {
        "module": "milepost.tasks",
        "task": task,
        "tenant": tenant,
        "type": type_,
        "queue": queue,
        "by": by,
        "from": source,
        "to": target,
        "attempt": attempt,
        "epoch": epoch,
        "trace_id": trace_id_of(traceparent),
    }
    if more:
        fields.update(more)
    write_fields(level, f"task {target}", fields)


def row_moved(by: str, row: Any, source: str, *, level: str = "info", **more: Any) -> None:
    """Log a move whose statement gave the task's row after it."""
    if logs_at(_LEVELS[level]):
        moved(
            by, row["id"], row["tenant"], row["type"], row["queue"], source, row["state"], row["attempt"], row["epoch"],
            row["traceparent"], level=level, **more,
        )  # fmt: skip


def on_a_line(text: str) -> str:
    """Return what a handler said of its failure, cut, on one line and without what steers a terminal."""
    short = text[:ERROR_CHARS]
    return short if short.isprintable() else "".join(c if c.isprintable() else " " for c in short)
