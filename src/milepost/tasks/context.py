"""What a handler is given beside its payload."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from milepost.errors import Cancelled
from milepost.tasks.loglines import HandlerLog, Level

SENT_EVERY_S = 0.2
"""Progress of a task leaves its worker at most this often; the first and the last always."""


class ProgressSink(Protocol):
    """Where progress goes. Called from whatever thread the handler runs in; must not block."""

    def __call__(self, done: float, total: float | None, unit: str | None, message: str | None, /) -> None:
        """Take one update."""


class OutputSink(Protocol):
    """Where output goes. Called from whatever thread the handler runs in; must not block."""

    def __call__(self, channel: str, chunk: str, /) -> None:
        """Take a chunk."""


@dataclass(slots=True)
class Context:
    """A running task, as its handler sees it. Safe to use from the thread the handler runs in.

    `idempotency_key` is the same in every attempt of the task: hand it to outside systems that can tell repeats.
    """

    id: UUID
    type: str
    queue: str
    tenant: str
    attempt: int
    max_attempts: int
    labels: dict[str, str] = field(default_factory=dict)
    trace_id: str | None = None
    epoch: int = 0
    """Of this attempt. It grows with every change of hands: an outside system that remembers the largest it saw can
    refuse whoever comes late with a smaller one."""
    _sink: ProgressSink | None = None
    _log: HandlerLog | None = None
    _output: OutputSink | None = None
    _clock: Callable[[], float] = time.monotonic
    _next_at: float = 0.0
    # At most one update is held back. A deque, because its append and pop are atomic: the handler's thread puts, the
    # worker's loop takes, and neither may lose the last update to the other. Made when first needed: most tasks are
    # short, and say nothing or little.
    _held: deque[tuple[float, float | None, str | None, str | None]] | None = None
    _cancelled: bool = False

    @property
    def idempotency_key(self) -> str:
        """Stable over attempts."""
        return str(self.id)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the task to stop, its time is over, or it is no longer ours: finish soon."""
        return self._cancelled

    def check(self) -> None:
        """Raise Cancelled if the task should stop."""
        if self._cancelled:
            raise Cancelled("the task was asked to stop")

    def progress(
        self, done: float, total: float | None = None, *, unit: str | None = None, message: str | None = None
    ) -> None:
        """Say how far the task has come: `done` of `total` (None: unknown) `unit`s.

        Cheap enough for a tight loop: between two updates that are sent, a call only remembers its arguments.
        """
        now = self._clock()
        if now < self._next_at:
            if self._held is None:
                self._held = deque(maxlen=1)
            self._held.append((done, total, unit, message))
            return
        self._next_at = now + SENT_EVERY_S
        if self._held:
            self._held.clear()
        if self._sink is not None:
            self._sink(done, total, unit, message)

    def log(self, message: object, /, *, level: Level = "info", **fields: object) -> None:
        """Say something for the worker's log and for those who watch the task: a message of one line, and fields.

        Never raises and never harms the task. Fields are text, numbers, booleans or None; other values go as their
        text. What is too long is cut, what is more than 50 lines a second after a burst of 200 is left out and counted.
        """
        if self._log is not None:
            self._log.add(level, message, fields)

    def emit(self, channel: str, chunk: str, /) -> None:
        """Stream text to those who watch the task, such as a model's tokens: `chunk` continues what `channel` had.

        Chunks that come close together are joined. What is more than 32 Ki characters a second after a burst of 128 Ki,
        or on more than 16 channels, is left out and counted. Raises TypeError for anything but text: decode bytes
        first.
        """
        if not (isinstance(channel, str) and isinstance(chunk, str)):  # type: ignore[redundant-expr]  # not all check
            raise TypeError(f"ctx.emit takes text, and was given a {type(channel).__name__} and {type(chunk).__name__}")
        if self._output is not None:
            self._output(channel, chunk)

    def flush(self, *, final: bool = False) -> None:
        """Send the update that was held back, if its time has come or it is `final`. The worker does this."""
        if not self._held:
            return
        now = self._clock()
        if now < self._next_at and not final:
            return
        try:
            held = self._held.popleft()
        except IndexError:
            return
        self._next_at = now + SENT_EVERY_S
        if self._sink is not None:
            self._sink(*held)

    def flush_to(self, sink: ProgressSink) -> None:
        """Give the update that was held back to `sink`, and what comes later to nobody. The worker does this, last."""
        self._sink = sink
        self.flush(final=True)
        self._sink = self._output = None

    def emit_to(self, sink: OutputSink) -> None:
        """Give what is emitted from now on to `sink`. The worker does this."""
        self._output = sink

    def cancel(self) -> None:
        """Turn `cancelled` on. The worker does this."""
        self._cancelled = True
