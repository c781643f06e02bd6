"""What shows the events of tasks, and the words all views share."""

from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import UUID

from milepost.cli.output import printable, span
from milepost.client import RunEvent
from milepost_schemas.event import EventKind
from milepost_schemas.queue import Explanation
from milepost_schemas.task import Task, TaskState

RUNNING: Final = TaskState.RUNNING
STREAMED: Final = frozenset(kind.value for kind in EventKind if not kind.patches)


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

    def waits(self, task: Task, explained: Explanation) -> None:
        """Show why a task that is queued does not start."""

    def tick(self) -> None:
        """Show that time goes by. Called about once a second."""


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


def silence_text(seconds: float) -> str:
    """Return how long nothing was heard, in words."""
    return f"no news for {span(seconds)}"


class Silence:
    """How long ago tasks were last heard of."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard: dict[UUID, float] = {}

    def heard(self, event: RunEvent) -> None:
        """Take an event."""
        if event.age is not None:
            self._heard[event.task.id] = self._clock() - event.age
        else:
            self._heard.setdefault(event.task.id, self._clock())

    def of(self, task: Task) -> float:
        """Return for how many seconds nothing was heard of a task; 0 if it does not run, and so has nothing to say."""
        return max(0.0, self._clock() - self._heard.get(task.id, self._clock())) if task.state is RUNNING else 0.0
