"""What commands print: for people, or JSON for programs."""

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
import orjson
from pydantic import BaseModel
from pydantic_core import to_json

from milepost_schemas.task import Progress, Task

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


def write_json(value: Any, *, line: bool = False) -> None:
    """Write a value as JSON: indented, or as one line of many."""
    sys.stdout.write(json_text(value, indented=not line) + "\n")
    sys.stdout.flush()


def json_text(value: Any, *, indented: bool = False) -> str:
    """Return a value as JSON, on one line unless it is to be indented."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 if indented else 0).decode()
    except TypeError:
        # Whole numbers beyond 64 bits, of which there are some in what workers of older versions wrote.
        return to_json(value, indent=2 if indented else None).decode()


def write(*lines: str) -> None:
    """Write lines, at once."""
    for line in lines:
        click.echo(line)


def printable(text: str) -> str:
    """Return text on one line and without what could steer a terminal; it comes from other people's tasks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def task_lines(task: Task) -> Iterable[str]:
    """Yield a task as people read it, one member a line."""
    rows: list[tuple[str, Any]] = [
        ("id", task.id),
        ("type", task.type),
        ("state", task.state.value),
        ("queue", f"{task.queue} ({task.priority.value})"),
        ("attempt", f"{task.attempt} of {task.max_attempts}"),
        ("labels", " ".join(f"{name}={value}" for name, value in task.labels.items()) or None),
        ("parent", task.parent_id),
        ("progress", progress_text(task.progress) if task.progress else None),
        ("created", instant(task.created_at)),
        ("due", instant(task.due_at)),
        ("started", instant(task.started_at)),
        ("finished", instant(task.finished_at)),
        ("trace", task.trace_id),
        ("error", f"{task.error.type}: {task.error.message}" if task.error else None),
    ]
    for name, value in rows:
        if value is not None:
            yield f"{name:<9} {printable(str(value))}"
    if task.result is not None:
        yield "result    " + printable(json_text(task.result))


def progress_text(progress: Progress) -> str:
    """Return progress in words: `3/10 files, 30 %, 2.5 files/s, 3 s left, message`."""
    parts = [count_text(progress)]
    unit = unit_text(progress)
    if progress.total:
        parts.append(f"{min(1.0, progress.done / progress.total):.0%}")
    if progress.rate and (progress.total is None or progress.done < progress.total):
        parts.append(f"{number(progress.rate)}{unit}/s")
    if progress.eta and progress.eta >= 1:
        parts.append(f"{span(progress.eta)} left")
    if progress.message:
        parts.append(printable(progress.message))
    return ", ".join(parts)


def count_text(progress: Progress) -> str:
    """Return how far it is: `3/10 files`."""
    total = "" if progress.total is None else f"/{number(progress.total)}"
    return f"{number(progress.done)}{total}{unit_text(progress)}"


def unit_text(progress: Progress) -> str:
    """Return what is counted, to be put after a number; empty if nobody said."""
    return f" {printable(progress.unit)}" if progress.unit else ""


def number(value: float) -> str:
    """Return a number with as many digits as one wants to read."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2g}"


def span(seconds: float) -> str:
    """Return a duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def instant(moment: datetime | None) -> str | None:
    """Return an instant in UTC, to the second."""
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError
