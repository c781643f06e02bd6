"""What all ways of running a handler offer."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from milepost.tasks.loglines import HandlerLog
from milepost_worker.outcome import Failed, Succeeded

RESULT_BYTES = 16 * 1024 * 1024
"""A handler that returns more fails its attempt: results are read over HTTP and kept in a row."""

Progress = Callable[[Any, Any, Any, Any], None]
"""Takes what a handler said of its progress: done, total, unit, message."""


Output = Callable[[str, str, int], None]
"""Takes a piece of output: channel, chunk, how many characters before it are missing."""


class Tells(NamedTuple):
    """Where goes what a handler in a process says while it runs."""

    progress: Progress
    log: HandlerLog
    output: Output


class Job(Protocol):
    """A handler that was started. `finished` holds how it ended; it never holds an exception."""

    finished: "asyncio.Future[Succeeded | Failed]"

    def ask_to_stop(self) -> None:
        """Make the handler end soon, in a way it can tidy up after. `Context.cancelled` is already on."""

    def end(self) -> None:
        """Make the handler end now, if that is possible at all."""

    def keep_until(self, until: float) -> None:
        """Let it go on until then, by `time.monotonic`: its task's lease. May be called from any thread."""
