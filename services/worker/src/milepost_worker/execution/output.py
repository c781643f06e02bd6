"""What a handler's process writes to its standard output and error: lines in the worker's log."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from milepost.tasks.loglines import Allowance, one_line

LINE_CHARS: Final = 2_000
TAIL_BYTES: Final = 16 * 1024
LARGE_READ: Final = 16 * 1024
PAUSE_S: Final = 0.01


class Lines:
    """Cuts bytes into lines, of which it lets through so many a second; the rest is counted. Pure but for `say`."""

    def __init__(self, say: Callable[[str], None], now: float) -> None:
        self._say = say
        self._begun = bytearray()
        self._allowance = Allowance(now)
        self._at = now
        self.left_out = 0
        self.tail = bytearray()
        """The last bytes, lines left out included."""

    def feed(self, data: bytes, now: float) -> None:
        """Take what was written, at monotonic time `now`."""
        self._at = now
        self.tail += data
        del self.tail[:-TAIL_BYTES]
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._begun += line[: 4 * LINE_CHARS]
            self._line()
        self._begun += rest[: max(0, 4 * LINE_CHARS - len(self._begun))]

    def end(self) -> None:
        """Take what is left as a line."""
        if self._begun:
            self._line()

    def _line(self) -> None:
        if self._allowance.take(self._at):
            # What a handler prints must not move the cursor of whoever reads the log on a terminal.
            self._say(one_line(self._begun.decode("utf-8", "replace").rstrip(), LINE_CHARS))
        else:
            self.left_out += 1
        self._begun.clear()


class Output(asyncio.Protocol):
    """Reads the pipe of one process. A process that writes without end is slowed down, not the worker."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.lines = Lines(lambda line: log.info("output of the handler", line=line), self._loop.time())
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.ReadTransport", transport)  # uvloop's is one, but does not say so

    def data_received(self, data: bytes) -> None:
        """Take what was written."""
        self.lines.feed(data, self._loop.time())
        if len(data) >= LARGE_READ and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """Nobody has the other end any more."""
        self.lines.end()
        if self.lines.left_out:
            self._log.warning("output of the handler was left out", lines=self.lines.left_out)
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()
