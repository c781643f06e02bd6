"""Progress bars on a terminal, one for each task."""

from types import TracebackType
from typing import Self
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from milepost.cli.output import count_text, number, printable, span
from milepost.cli.show.view import state_text, streamed_text, title
from milepost.client import RunEvent
from milepost_schemas.task import Task as Shown
from milepost_schemas.task import TaskState

_STYLES = {TaskState.SUCCEEDED: "green", TaskState.FAILED: "bold red", TaskState.CANCELLED: "yellow"}
_MARKS = {TaskState.SUCCEEDED: "✓", TaskState.FAILED: "✗", TaskState.CANCELLED: "■"}


class _Field(ProgressColumn):
    """A text that events set, never read as markup."""

    def __init__(self, name: str, *, ratio: int | None = None) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=ratio))
        self._name = name

    def render(self, task: Task) -> Text:
        return Text(task.fields.get(self._name, ""), task.fields.get("style", "") if self._name == "mark" else "")


class _Words(_Field):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get(self._name, ""), task.fields.get("style") or "dim")


class Bars:
    """A live block of bars; what tasks log goes above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            _Field("title"),
            BarColumn(bar_width=24),
            _Field("count"),
            _Words("words", ratio=1),
            console=self._console,
            expand=True,
        )
        self._bars: dict[UUID, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def event(self, event: RunEvent) -> None:
        """Move the task's bar."""
        shown = event.task
        bar = self._bars.get(shown.id)
        if bar is None:
            bar = self._bars[shown.id] = self._progress.add_task("", total=None, title=title(shown))
        streamed = streamed_text(event)
        if streamed is not None:
            self._console.print(Text(f"{title(shown)}: {streamed}"))
            return
        done, total = _reached(shown)
        self._progress.update(
            bar,
            completed=done,
            total=total,
            count=count_text(shown.progress) if shown.progress else "",
            words=f"{_MARKS[shown.state]} {state_text(shown)}" if shown.state.terminal else _words(shown),
            style=_STYLES.get(shown.state, ""),
        )
        if shown.state.terminal:
            self._progress.stop_task(bar)


def _reached(task: Shown) -> tuple[float, float | None]:
    """Return how much of the bar is full: a task that is over has no moving bar."""
    done = task.progress.done if task.progress else 0.0
    total = task.progress.total if task.progress else None
    if task.state is TaskState.SUCCEEDED:
        return (total or 1.0), (total or 1.0)
    if task.state.terminal:
        return (done, total) if total else (0.0, 1.0)
    return done, total or None


def _words(task: Shown) -> str:
    if task.state is not TaskState.RUNNING:
        return state_text(task)
    progress = task.progress
    parts = []
    if progress is not None and progress.rate:
        parts.append(f"{number(progress.rate)}{' ' + progress.unit if progress.unit else ''}/s")
    if progress is not None and progress.eta:
        parts.append(f"{span(progress.eta)} left")
    if task.attempt > 1:
        parts.append(f"attempt {task.attempt} of {task.max_attempts}")
    if progress is not None and progress.message:
        parts.append(printable(progress.message))
    return ", ".join(parts) or "running"
