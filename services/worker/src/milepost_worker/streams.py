"""What one attempt streams to those who watch it: lines of log and output, on their way to its trail."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from milepost.tasks.loglines import CUT, LogLine
from milepost.tasks.output import HandlerOutput
from milepost_schemas import EventKind
from milepost_worker.trail import STREAMED_BYTES, Trail

EVERY_S: Final = 0.1
"""What comes within this time goes together. The first after a pause goes at once."""


class Streams:
    """Gathers from whatever thread the handler speaks in; the loop drains into the trail, in the order of speech.

    Only chunks of several channels lose their order among each other, when they come within one gathering.
    """

    __slots__ = ("_lock", "_next_at", "_output", "_waiting", "_wake", "_waked", "emit")

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something to drain that was not there before."""
        self._wake: Callable[[], None] | None = wake
        self._waked = False
        self._waiting: list[tuple[EventKind, bytes]] = []
        # What is taken from the output has to get behind what was taken before.
        self._lock = threading.RLock()
        self._output = HandlerOutput(self._news, lock=self._lock)
        self.emit: Callable[..., None] = self._output.add
        """Takes a chunk of output; see `HandlerOutput.add`."""
        self._next_at = 0.0

    @property
    def pending(self) -> bool:
        """Whether there is something to drain."""
        return self._waked

    @property
    def left_out(self) -> int:
        """Characters of output that there was no room for."""
        return self._output.left_out

    def line(self, line: LogLine) -> None:
        """Take a line of log."""
        data = _log_data(line)
        with self._lock:
            self._gather()
            self._waiting.append((EventKind.LOG, data))
        self._news()

    def drain(self, trail: Trail, now: float, *, final: bool = False) -> None:
        """Hand over what was gathered. On the loop; `now` is by its clock."""
        self._waked = False  # first: what comes from here on wakes again
        self._next_at = now + EVERY_S
        with self._lock:
            self._gather(final=final)
            waiting, self._waiting = self._waiting, []
        for kind, data in waiting:
            trail.stream(kind, data)

    def due(self, now: float) -> bool:
        """Whether it is time to drain."""
        return self._waked and now >= self._next_at

    def close(self) -> None:
        """Wake nobody any more."""
        self._wake = None
        self._output.close()

    def _gather(self, *, final: bool = False) -> None:
        if self._output.pending or final:
            self._waiting.extend(
                (EventKind.OUTPUT, orjson.dumps(_output_data(*p))) for p in self._output.take(final=final)
            )

    def _news(self) -> None:
        if not self._waked and (wake := self._wake) is not None:
            self._waked = True
            wake()


def _output_data(channel: str, chunk: str, left_out: int) -> dict[str, Any]:
    data: dict[str, Any] = {"channel": channel, "chunk": chunk}
    return data | {"left_out": left_out} if left_out else data


def _log_data(line: LogLine) -> bytes:
    """Return a line as the data of an event; fields that find no room are counted as '…'."""
    data = {"level": line.level, "message": line.message, "fields": line.fields, "time": datetime.now(UTC)}
    text = orjson.dumps(data, option=orjson.OPT_UTC_Z)
    if len(text) <= STREAMED_BYTES:
        return text
    fields = dict(line.fields)
    missing = fields.pop(CUT, 0)
    room = STREAMED_BYTES - len(orjson.dumps(data | {"fields": {CUT: 10**9}}, option=orjson.OPT_UTC_Z))
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        room -= len(orjson.dumps({name: value}))
        if room < 0:
            break
        kept[name] = value
    missing = len(fields) - len(kept) + (missing if isinstance(missing, int) else 0)
    data["fields"] = {**kept, CUT: missing}
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)
