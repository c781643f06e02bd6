"""What a handler says with `ctx.log`: lines that are typed, bounded and counted, and never cost a task anything."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from numbers import Integral, Real
from typing import Any, Final, Literal, NamedTuple, Protocol

Level = Literal["debug", "info", "warning", "error"]
Scalar = str | int | float | bool | None

MESSAGE_CHARS: Final = 2_000
VALUE_CHARS: Final = 2_000
NAME_CHARS: Final = 64
FIELDS: Final = 32
CHARS: Final = 8_000
"""Of message, names and texts of one line together. What is longer than its bound is cut and ends with '…'."""
BURST_LINES: Final = 200
LINES_A_SECOND: Final = 50.0
CUT: Final = "…"

_LEVELS: Final[Mapping[object, Level]] = {
    "debug": "debug", "info": "info", "warning": "warning", "error": "error",
    # As other loggers call them.
    "warn": "warning", "exception": "error", "critical": "error", "fatal": "error",
}  # fmt: skip


class LogLine(NamedTuple):
    """One line, printable: the message has no line breaks, texts in fields may."""

    level: Level
    message: str
    fields: dict[str, Scalar]


class LibraryLine(LogLine):
    """A line that did not come by `ctx.log`: for the worker's log alone, and not for those who watch the task."""

    __slots__ = ()


class LogSink(Protocol):
    """Where lines go. Called from whatever thread the handler runs in; must not block. An error costs the line."""

    def __call__(self, line: LogLine, /) -> None:
        """Take one line."""


class Allowance:
    """So many at once, so many a second after that: lines, or characters. Pure: clocks are monotonic and passed in."""

    __slots__ = ("_a_second", "_at", "_burst", "_left")

    def __init__(self, now: float, burst: float = BURST_LINES, a_second: float = LINES_A_SECOND) -> None:
        self._burst = self._left = float(burst)
        self._a_second = a_second
        self._at = now

    def has(self, now: float, wanted: int) -> bool:
        """Return whether there is room for so many at `now`."""
        self._left = min(self._burst, self._left + (now - self._at) * self._a_second)
        self._at = now
        return self._left >= wanted

    def take(self, now: float) -> bool:
        """Return whether there is room for one more at `now`, and take it."""
        if not self.has(now, 1):
            return False
        self._left -= 1
        return True

    def some(self, now: float, wanted: int) -> int:
        """Return for how many of `wanted` there is room at `now`, and take it."""
        taken = wanted if self.has(now, wanted) else max(0, int(self._left))
        self._left -= taken
        return taken


class HandlerLog:
    """The lines of one attempt on their way to `sink`. Never raises; what does not get there is counted."""

    __slots__ = ("_allowance", "_clock", "_left_out", "_lock", "_sink")

    def __init__(self, sink: LogSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink: LogSink | None = sink
        self._clock = clock
        self._allowance: Allowance | None = None
        self._left_out = 0
        # One that a signal handler or a finalizer may take again in the middle of a call.
        self._lock = threading.RLock()

    def add(self, level: object, message: object, fields: Mapping[str, object], *, library: bool = False) -> None:
        """Take a line of any values: what is no scalar of JSON goes as text. `library`: make it a LibraryLine."""
        try:
            if not self._may():
                self.leave_out(1)
            elif (sink := self._sink) is not None:
                line = log_line(level, message, fields)
                sink(LibraryLine(*line) if library else line)
        except Exception:  # noqa: BLE001 - whatever is wrong with a line, the task is worth more
            self.leave_out(1)

    def _may(self) -> bool:
        now = self._clock()
        with self._lock:
            if self._allowance is None:
                self._allowance = Allowance(now)
            return self._allowance.take(now)

    def leave_out(self, lines: int) -> None:
        """Count lines that were left out."""
        with self._lock:
            self._left_out += lines

    def take_left_out(self) -> int:
        """Return how many were left out since this was asked last."""
        with self._lock:
            lines, self._left_out = self._left_out, 0
        return lines

    def forked(self, sink: LogSink) -> None:
        """Go on anew in a process that was forked from this one, where nobody will ever open its lock."""
        self._lock = threading.RLock()
        self._allowance = None
        self._left_out = 0
        self._sink = sink

    def close(self) -> None:
        """Say how many lines were left out, if any were, and take no more."""
        sink, self._sink = self._sink, None
        lines = self.take_left_out() if self._left_out else 0
        if sink is not None and lines:
            with suppress(Exception):
                sink(LogLine("warning", "the handler logged more than is kept; lines were left out", {"lines": lines}))


def log_line(level: object, message: object, fields: Mapping[str, object]) -> LogLine:
    """Return what is kept of a line; of one that was kept, all. Fields that find no room are counted as '…'."""
    text = one_line(_text(message, MESSAGE_CHARS), MESSAGE_CHARS)
    room = CHARS - len(text)
    kept: dict[str, Scalar] = {}
    before = fields.get(CUT, 0)
    left = len(fields)
    for name, value in islice(fields.items(), FIELDS + 1):
        if name == CUT or len(kept) == FIELDS:
            continue
        shown = one_line(_text(name, NAME_CHARS), NAME_CHARS)
        room -= len(shown)
        if room <= 0:
            break
        scalar = kept[shown] = _scalar(value, min(VALUE_CHARS, room))
        room -= len(scalar) if isinstance(scalar, str) else 0
        left -= 1
    if left:
        kept[CUT] = left - 1 + before if CUT in fields and isinstance(before, int) else left
    return LogLine(_LEVELS.get(level, "info") if isinstance(level, str) else "info", text, kept)


def one_line(text: str, limit: int) -> str:
    """Return text that can neither begin a line nor move a cursor, cut after `limit` characters."""
    return _printable(_cut(text, limit), "\t")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + CUT


def _printable(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _scalar(value: Any, limit: int) -> Scalar:
    """Return a value as JSON can carry it; `limit` bounds a text."""
    if value is None or isinstance(value, bool):
        return value
    try:
        if isinstance(value, Integral) and abs(whole := int(value)) < 2**63:
            return whole
        if isinstance(value, Real) and not isinstance(value, Integral) and math.isfinite(number := float(value)):
            return number
    except Exception:  # noqa: BLE001, S110 - somebody's number may do anything; its text is left
        pass
    return _printable(_cut(_text(value, limit), limit), "\t\n")


def _text(value: Any, limit: int) -> str:
    """Return a value as text, which may be a little longer than `limit`, so that one can see what has to be cut."""
    try:
        text = value if type(value) is str else str(value)
        return str.__getitem__(text, slice(limit + 1))
    except Exception:  # noqa: BLE001 - a value need not have a text
        return f"({type(value).__name__} without a text)"[: limit + 1]
