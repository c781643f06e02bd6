"""What the handler of one attempt says, from whatever thread, on its way to the attempt's trail."""

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import orjson

from milepost.runtime.tracing import trace_id_of
from milepost.store import Claimed
from milepost.tasks.context import Context
from milepost.tasks.loglines import HandlerLog, LibraryLine, LogLine, Scalar
from milepost_worker.execution.job import Tells
from milepost_worker.handler_log import HandlerLogSink, to_the_workers_log
from milepost_worker.streams import Streams
from milepost_worker.trail import TOGETHER_S, EventSink, Trail

_MAKING: Final = threading.Lock()


class Outlets:
    """Where goes what is said in a worker: shared by the voices of all its attempts. To be made on its loop."""

    def __init__(
        self, events: EventSink, send_soon: Callable[["Voice"], None], log: HandlerLogSink = to_the_workers_log
    ) -> None:
        """`send_soon` is called with a voice that has something to send, on the loop; it must not wait itself."""
        self.loop = asyncio.get_running_loop()
        """Asked once: each time is a system call."""
        self.loops_thread = threading.get_ident()
        self.events = events
        self.send_soon = send_soon
        self.log = log


class Voice:
    """Gives a handler its context, and takes all it says by it until `close`.

    It knows nothing of the attempt it belongs to, so that neither hangs in a cycle with the other; those between itself
    and what the handler holds end when it is closed.
    """

    __slots__ = (
        "_claimed", "_log", "_loop", "_outlets", "_streams", "_told_progress", "_trail", "began", "closed", "context",
    )  # fmt: skip

    def __init__(self, claimed: Claimed, trail: Trail, outlets: Outlets) -> None:
        self._claimed = claimed
        self._trail = trail
        self._outlets = outlets
        self._loop = outlets.loop
        self.began = math.inf
        """When the handler began, by the loop's clock: a busy worker gets to it some time after the claim."""
        self.closed = False
        """Whether all was said: what waits in the trail goes with the end."""
        self._told_progress = False
        """Whether the handler ever told progress; from then on it may hold some back."""
        self._streams: Streams | None = None
        """Made when first needed: most tasks are short and say nothing."""
        self._log = HandlerLog(self._say)
        self.context = Context(
            id=claimed.id,
            type=claimed.type,
            queue=claimed.queue,
            tenant=claimed.tenant,
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts,
            labels=orjson.loads(claimed.labels),
            trace_id=trace_id_of(claimed.traceparent),
            epoch=claimed.epoch,
            _sink=self._progress,
            _log=self._log,
            _output=self._emit,
        )

    def tells(self) -> Tells:
        """Return the same for a handler in another process, which has a context of its own there."""
        return Tells(self._progress, self._log, self._emit)

    def begin(self) -> None:
        """Note that the handler begins: from here its start is told, unless its end comes at once. On the loop."""
        self.began = self._loop.time()
        self._outlets.send_soon(self)

    def tell(self) -> None:
        """Have sent what was put into the trail. On the loop."""
        self._outlets.send_soon(self)

    def send(self, now: float) -> bool:
        """Send what waits, as far as its time has come; return whether there may be more without another word.

        On the loop; `now` is by its clock.
        """
        if self.closed:
            return False
        trail, streams = self._trail, self._streams
        self.context.flush()
        if streams is not None and streams.due(now):
            streams.drain(trail, now)
        if trail.behind and now - self.began > TOGETHER_S:
            trail.flush()
        return trail.behind or self._told_progress or (streams is not None and streams.pending)

    def close(self) -> None:
        """Put what was said last into the trail, and take no more. On the loop; a second time it does nothing."""
        if self.closed:
            return
        self.closed = True
        # Straight into the trail: what a thread hands over comes a turn of the loop too late.
        self.context.flush_to(self._trail.add_progress)
        if (streams := self._streams) is not None and streams.left_out:
            fields: dict[str, Scalar] = {"characters": streams.left_out}
            self._say(LogLine("warning", "the handler emitted more than is kept; output was left out", fields))
        self._log.close()
        if (streams := self._streams) is not None:
            streams.drain(self._trail, self._loop.time(), final=True)
            streams.close()

    def _progress(self, done: float, total: float | None, unit: str | None, message: str | None) -> None:
        if threading.get_ident() == self._outlets.loops_thread:
            self._got_on(done, total, unit, message)
        else:
            self._loop.call_soon_threadsafe(self._got_on, done, total, unit, message)

    def _got_on(self, done: float, total: float | None, unit: str | None, message: str | None) -> None:
        if self.closed:
            return
        self._told_progress = True
        if self._streams is not None and self._streams.pending:
            # What was said before comes before.
            self._streams.drain(self._trail, self._loop.time())
        self._trail.add_progress(done, total, unit, message)
        self._outlets.send_soon(self)

    def _say(self, line: LogLine) -> None:
        self._outlets.log(self._claimed, line)
        if not isinstance(line, LibraryLine):
            self._streaming().line(line)

    def _emit(self, channel: str, chunk: str, left_out: int = 0) -> None:
        if not self.closed:
            self._streaming().emit(channel, chunk, left_out)

    def _streaming(self) -> Streams:
        if (streams := self._streams) is not None:
            return streams
        with _MAKING:
            if self._streams is None:
                self._streams = Streams(self._news)
                if not self.closed:
                    self.context.emit_to(self._streams.emit)  # by the shortest way from now on
            return self._streams

    def _news(self) -> None:
        if threading.get_ident() == self._outlets.loops_thread:
            self._outlets.send_soon(self)
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody tells any more
                self._loop.call_soon_threadsafe(self._outlets.send_soon, self)
