"""Events as lines: for pipes, files and logs, and as JSON."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from milepost.cli.output import count_text, printable, progress_text, write, write_json
from milepost.cli.show.streamed import Streamed
from milepost.cli.show.view import STREAMED, Silence, silence_text, state_text, title
from milepost.client import RunEvent
from milepost.domain.progress import SILENT_S
from milepost_schemas.event import EventKind
from milepost_schemas.queue import Explanation, Reason
from milepost_schemas.task import Task

PROGRESS_EVERY_S: Final = 1.0
"""A line of progress for each task at most this often."""


class Lines:
    """A line for each change of state, now and then one for progress or a silence, and with `logs` what is streamed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, logs: bool = False) -> None:
        self._clock = clock
        self._next: dict[UUID, float] = {}
        self._last: dict[UUID, str] = {}
        self._running: dict[UUID, Task] = {}
        self._silence = Silence(clock)
        self._told_silence: dict[UUID, float] = {}
        self._told_reason: dict[UUID, Reason] = {}
        self._streamed = Streamed(clock, wanted=logs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def event(self, event: RunEvent) -> None:
        """Write a line if there is something to say."""
        task = event.task
        self._silence.heard(event)
        self._told_silence.pop(task.id, None)
        self._running[task.id] = task
        write(*self._streamed.lines(event))
        if event.kind in STREAMED:
            return
        if event.last:
            del self._running[task.id]
            count = f" ({count_text(task.progress)})" if task.progress else ""
            write(f"{title(task)}: {state_text(task)}{count}")
            return
        text = state_text(task)
        if event.kind == EventKind.CANCELLING:
            text = "asked to stop"
        if event.kind == EventKind.LEASE_LOST:
            text = f"its worker is gone; {text} again"
        if text != self._last.get(task.id):
            self._last[task.id] = text
            write(f"{title(task)}: {text}")
        if task.progress is not None and event.kind in {EventKind.PROGRESS, "snapshot"}:
            now = self._clock()
            if now >= self._next.get(task.id, 0.0):
                self._next[task.id] = now + PROGRESS_EVERY_S
                write(f"{title(task)}: {progress_text(task.progress)}")

    def waits(self, task: Task, explained: Explanation) -> None:
        """Write why it does not start, once for each reason."""
        if explained.reason != self._told_reason.get(task.id):
            self._told_reason[task.id] = explained.reason
            write(f"{title(task)}: {printable(explained.detail)}")

    def tick(self) -> None:
        """Say of tasks that run and are silent that they are, once, and again whenever it is twice as long."""
        write(*self._streamed.rested())
        for task in self._running.values():
            silence = self._silence.of(task)
            if silence >= self._told_silence.get(task.id, SILENT_S):
                self._told_silence[task.id] = 2 * silence
                write(f"{title(task)}: {silence_text(silence)}")


class JsonLines(Lines):
    """Every event as one JSON object a line."""

    def event(self, event: RunEvent) -> None:
        """Write it whole."""
        write_json(
            {
                "id": event.view["id"],
                "kind": event.kind,
                "at": list(event.at),
                "data": event.data,
                "merged": event.merged,
                "age": event.age,
                "task": event.view,
            },
            line=True,
        )

    def waits(self, task: Task, explained: Explanation) -> None:
        """Write nothing: programs ask themselves."""

    def tick(self) -> None:
        """Write nothing: programs have clocks."""
