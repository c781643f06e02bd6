"""What handlers that share the worker's process print, and log by `logging`: in the worker's log, with their task."""

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, Final, TextIO, cast
from uuid import UUID

from milepost.runtime.logs import hear_libraries, task_at_work
from milepost.tasks.loglines import one_line
from milepost_worker.execution.output import LINE_CHARS

UNFINISHED: Final = 1_000
"""Lines without an end that are kept; beyond that they end as they are."""

# By `logging` and not by structlog: its locks may be taken again by the thread that has them, as a finalizer does that
# prints in the middle of a line being logged.
_log: Final = logging.getLogger("milepost.worker.printed")


@contextmanager
def heard(level: str) -> Iterator[None]:
    """While the block runs, log what is printed, and what is logged by `logging` in a task from `level` on.

    A standard stream that is a terminal is left alone: somebody sits there, perhaps with a debugger.
    """
    root = logging.getLogger()
    before = root.level
    root.setLevel(level.upper())
    hear_libraries(logging.NOTSET)
    for handler in root.handlers:
        handler.addFilter(_of_a_handler)
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr") if not getattr(sys, name).isatty()}
    for name, stream in streams.items():
        setattr(sys, name, Printed(stream))
    try:
        yield
    finally:
        for name, stream in streams.items():
            setattr(sys, name, stream)
        for handler in root.handlers:
            handler.removeFilter(_of_a_handler)
        root.setLevel(before)
        hear_libraries(logging.WARNING)


def _of_a_handler(record: logging.LogRecord) -> bool:
    """Whether to log a record: of libraries only warnings, but what a handler has them say also below that."""
    return record.levelno >= logging.WARNING or record.name == _log.name or task_at_work(copy_context()) is not None


class Printed(io.TextIOBase):
    """A standard stream whose lines become records. What is written to its descriptor or buffer goes past it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun: dict[tuple[int, UUID | None], str] = {}
        self._mine = threading.local()
        with suppress(AttributeError, ValueError):
            cast("io.TextIOWrapper", stream).reconfigure(line_buffering=True)

    def write(self, text: str) -> int:
        """Take text; whole lines are logged."""
        if getattr(self._mine, "logging", False):
            # Logging itself has something to say, for example that it could not.
            return self._stream.write(text)
        who = threading.get_ident(), task_at_work(copy_context())
        *lines, rest = (self._begun.pop(who, "") + text).split("\n")
        for line in lines:
            self._say(line)
        if rest:
            self._begun[who] = rest[: LINE_CHARS + 1]
            if len(self._begun) > UNFINISHED:
                with suppress(RuntimeError, StopIteration, KeyError):  # another thread was faster
                    self._say(self._begun.pop(next(iter(self._begun))))
        return len(text)

    def _say(self, line: str) -> None:
        self._mine.logging = True
        try:
            _log.info("output of the handler", extra={"line": one_line(line.rstrip(), LINE_CHARS)})
        finally:
            self._mine.logging = False

    def writable(self) -> bool:
        """It is."""
        return True

    def flush(self) -> None:
        """Nothing waits but lines that are not finished."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the descriptor of the stream itself, for programs that are started."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """It is not."""
        return False

    # A property of the C class too, though its stub says otherwise.
    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self._stream.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
