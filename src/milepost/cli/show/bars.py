"""Progress bars on a terminal, one for each task."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from milepost.cli.output import count_text, number, printable, span, unit_text
from milepost.cli.show.streamed import Streamed
from milepost.cli.show.view import RUNNING, Silence, silence_text, state_text, title
from milepost.client import RunEvent
from milepost.domain.progress import SILENT_S, left_now
from milepost_schemas.queue import Explanation, Reason
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
    """A live block of bars; with `logs` what tasks stream goes above it."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic, *, logs: bool = False
    ) -> None:
        self._console = console or Console()
        self._silence = Silence(clock)
        self._streamed = Streamed(clock, wanted=logs)
        self._shown: dict[UUID, Shown] = {}
        self._told_reason: dict[UUID, Reason] = {}
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
        self._silence.heard(event)
        self._shown[shown.id] = shown
        self._print(self._streamed.lines(event))
        done, total = _reached(shown)
        self._progress.update(
            bar,
            completed=done,
            total=total,
            count=count_text(shown.progress) if shown.progress else "",
            words=f"{_MARKS[shown.state]} {state_text(shown)}" if shown.state.terminal else _words(shown, 0.0),
            style=_STYLES.get(shown.state, ""),
        )
        if shown.state.terminal:
            self._progress.stop_task(bar)

    def waits(self, task: Shown, explained: Explanation) -> None:
        """Say why it does not start: in the bar, and above it, where there is room for all of it."""
        if (bar := self._bars.get(task.id)) is None:
            return  # nothing was heard of it yet
        self._progress.update(bar, words=printable(explained.detail))
        if explained.reason != self._told_reason.get(task.id):
            self._told_reason[task.id] = explained.reason
            self._print([f"{title(task)}: {printable(explained.detail)}"])

    def tick(self) -> None:
        """Count down, and say of tasks that run and are silent that they are."""
        self._print(self._streamed.rested())
        for id_, shown in self._shown.items():
            if shown.state is RUNNING:
                self._progress.update(self._bars[id_], words=_words(shown, self._silence.of(shown)))

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(Text(line))


def _reached(task: Shown) -> tuple[float, float | None]:
    """Return how much of the bar is full: a task that is over has no moving bar."""
    done = task.progress.done if task.progress else 0.0
    total = task.progress.total if task.progress else None
    if task.state is TaskState.SUCCEEDED:
        return (total or 1.0), (total or 1.0)
    if task.state.terminal:
        return (done, total) if total else (0.0, 1.0)
    return done, total or None


def _words(task: Shown, silence: float) -> str:
    if task.state is not RUNNING:
        return state_text(task)
    progress = task.progress
    parts = [silence_text(silence)] if silence >= SILENT_S else []
    if progress is not None and progress.rate:
        parts.append(f"{number(progress.rate)}{unit_text(progress)}/s")
    if progress is not None and (left := left_now(progress.eta, silence)):
        parts.append(f"{span(left)} left")
    if task.attempt > 1:
        parts.append(f"attempt {task.attempt} of {task.max_attempts}")
    if progress is not None and progress.message:
        parts.append(printable(progress.message))
    return ", ".join(parts) or "running"
