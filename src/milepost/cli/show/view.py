"""What shows the events of tasks, and the words all views share."""

from types import TracebackType
from typing import Protocol, Self

from milepost.cli.output import printable, span
from milepost.client import RunEvent
from milepost_schemas.event import EventKind
from milepost_schemas.task import Task, TaskState


class View(Protocol):
    """Shows what happens to any number of tasks while it is open."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what was shown last on the screen."""

    def event(self, event: RunEvent) -> None:
        """Show one event."""


def title(task: Task) -> str:
    """Return type and the end of the id, which tells tasks apart (its start is the time)."""
    return f"{task.type} {str(task.id)[-8:]}"


def state_text(task: Task) -> str:
    """Return the state in words, with what one wants to know next."""
    attempt = f" (attempt {task.attempt} of {task.max_attempts})" if task.attempt > 1 else ""
    error = f": {printable(task.error.message)}" if task.error else ""
    match task.state:
        case TaskState.SUCCEEDED:
            return f"succeeded{took(task)}{attempt}"
        case TaskState.FAILED:
            return f"failed{took(task)}{attempt}{error}"
        case TaskState.CANCELLED:
            return f"cancelled{took(task)}"
        case TaskState.SCHEDULED if task.error and task.due_at:
            return f"to be tried again at {task.due_at:%H:%M:%S}Z{attempt}{error}"
        case TaskState.SCHEDULED if task.due_at:
            return f"scheduled for {task.due_at:%Y-%m-%d %H:%M:%S}Z"
        case _:
            return f"{task.state.value}{attempt}"


def took(task: Task) -> str:
    """Return ` after 3.2 s`, from the start of the last attempt to the end; empty if it never started."""
    if task.started_at is None or task.finished_at is None:
        return ""
    return f" after {span(max(0.0, (task.finished_at - task.started_at).total_seconds()))}"


def streamed_text(event: RunEvent) -> str | None:
    """Return what a handler streamed beside its progress; None if the event is of another kind."""
    if event.kind not in {EventKind.LOG, EventKind.OUTPUT, EventKind.STEP}:
        return None
    for name in ("message", "chunk", "text", "name"):
        if isinstance(event.data.get(name), str):
            return printable(event.data[name])
    return None
