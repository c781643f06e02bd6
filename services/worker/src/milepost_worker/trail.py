"""The events of one epoch of a task, numbered by the worker that owns it."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from milepost.domain.progress import RateMeter
from milepost.runtime.logs import get_logger
from milepost_schemas import EventKind, Position
from milepost_worker.outcome import MESSAGE_CHARS, clean

log = get_logger("milepost.worker.trail")

UNIT_CHARS = 100
STREAMED_BYTES: Final = 15_000
"""Of the data of one streamed event."""
WAITING_MOST: Final = 256
WAITING_BYTES: Final = 256 * 1024
"""Streamed events that wait for Kafka, of one trail; beyond either bound the oldest are left out."""
TOGETHER_S = 0.02
"""A start and an end this close travel as one event."""


def _number(value: Any) -> float | int:
    """Return a finite number that JSON can carry. Raises TypeError, ValueError, OverflowError."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


class EventSink(Protocol):
    """Sends an event, or says that it cannot now."""

    def __call__(
        self,
        task: UUID,
        tenant: str,
        root: UUID,
        at: Position,
        kind: EventKind,
        data: Mapping[str, Any] | orjson.Fragment,
        traceparent: str | None,
        merged: int,
        /,
    ) -> bool:
        """Return False if the event was not taken."""


class Trail:
    """Numbers events 0, 1, 2 … and sends them in order.

    What cannot be sent yet waits; progress that waits is replaced by newer progress, of what is streamed the oldest is
    left out, and whatever patch still waits at the end is folded into the last event, which says so (`merged`). So
    waiting costs a bounded room for each task, and every number is accounted for: what is left out never had one. The
    first number is always taken by the start: it is the position of the claimed row, and whoever read that must see the
    end as something newer.
    """

    __slots__ = (
        "_closed", "_epoch", "_left_out", "_merged", "_meter", "_next", "_patch", "_root", "_sink", "_streamed",
        "_streamed_bytes", "_task", "_tenant", "_traceparent", "_waiting", "progress_json",
    )  # fmt: skip

    def __init__(
        self, sink: EventSink, task: UUID, tenant: str, root: UUID, epoch: int, traceparent: str | None
    ) -> None:
        self._sink = sink
        self._task, self._tenant, self._root, self._epoch, self._traceparent = task, tenant, root, epoch, traceparent
        self._next = 0
        self._waiting: list[tuple[EventKind, dict[str, Any] | bytes]] = []
        """Patches as they are; what is streamed as JSON text."""
        self._streamed = self._streamed_bytes = self._left_out = 0
        self._meter: RateMeter | None = None
        self._merged = 0
        self._patch: dict[str, Any] = {}
        self._closed = False
        self.progress_json: str | None = None
        """The last progress as the task shows it, as JSON text; None before the first."""

    @property
    def sent(self) -> int:
        """Seq of the last event that was sent; 0 also before the first."""
        return max(0, self._next - 1)

    @property
    def behind(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting)

    def add(self, kind: EventKind, data: dict[str, Any]) -> None:
        """Let an event wait for the next `flush`."""
        if not self._closed:
            self._waiting.append((kind, data))

    def add_progress(self, done: Any, total: Any, unit: Any, message: Any) -> None:
        """Let progress wait for the next `flush`, in place of progress that waits already.

        Handlers say all sorts of things (numbers of other libraries, file names that are not text). What cannot be
        shown is left out with a warning: it must harm neither the task nor its neighbours.
        """
        if self._closed:
            return
        try:
            progress = self._shown(done, total, unit, message)
            text = orjson.dumps(progress).decode()
        except (TypeError, ValueError, OverflowError) as error:
            log.warning("progress that cannot be shown was left out", error=str(error))
            return
        self.progress_json = text
        for at in range(len(self._waiting) - 1, -1, -1):
            if self._waiting[at][0] is EventKind.PROGRESS:
                del self._waiting[at]
                break
        self._waiting.append((EventKind.PROGRESS, {"progress": progress}))

    def stream(self, kind: EventKind, data: bytes) -> None:
        """Let something streamed wait for the next `flush`: `data` is JSON text of at most `STREAMED_BYTES`."""
        if self._closed:
            return
        self._waiting.append((kind, data))
        self._streamed += 1
        self._streamed_bytes += len(data)
        while self._streamed > WAITING_MOST or self._streamed_bytes > WAITING_BYTES:
            at, size = next((n, len(each)) for n, (_, each) in enumerate(self._waiting) if isinstance(each, bytes))
            del self._waiting[at]
            self._streamed -= 1
            self._streamed_bytes -= size
            self._left_out += 1

    def _shown(self, done: Any, total: Any, unit: Any, message: Any) -> dict[str, Any]:
        """Return progress as the task shows it. Raises TypeError, ValueError or OverflowError."""
        done, total = _number(done), None if total is None else _number(total)
        meter = self._meter = self._meter or RateMeter()
        rate = meter.update(done, time.monotonic())
        eta = meter.eta(done, total)
        return {
            "done": done,
            "total": total,
            "unit": None if unit is None else clean(str(unit), UNIT_CHARS),
            "message": None if message is None else clean(str(message), MESSAGE_CHARS),
            "rate": None if rate is None else round(rate, 3),
            "eta": None if eta is None else round(eta, 1),
        }

    def flush(self) -> None:
        """Send what waits, as far as it is taken."""
        sent = 0
        try:
            for kind, data in self._waiting:
                if not self._send_next(kind, data):
                    break
                sent += 1
        finally:
            del self._waiting[:sent]

    def close(self, *, tell: bool = True) -> tuple[int, dict[str, Any]]:
        """Take no more events; return the seq of the last one to come and the patches it has to carry along.

        What is streamed cannot be carried: it is sent now, unless there is nothing to `tell`, and else left out.
        """
        if not self._closed:
            if self._streamed and tell:
                self.flush()
            if left_out := self._left_out + self._streamed:
                log.warning("Kafka is away; some of what the handler streamed is only in this log", events=left_out)
            self._closed = True
            for _, data in self._waiting:
                if isinstance(data, dict):
                    self._patch = {**self._patch, **data} if self._patch else data
                    self._merged += 1
            self._next += self._merged
            self._waiting.clear()
        return self._next, self._patch

    def send_last(self, kind: EventKind, data: Mapping[str, Any]) -> bool:
        """Send the event whose seq `close` gave; False while it is not taken."""
        return self._send(self._next, kind, data, self._merged)

    def _send_next(self, kind: EventKind, data: dict[str, Any] | bytes) -> bool:
        if isinstance(data, dict):
            taken = self._send(self._next, kind, data)
        else:
            if self._left_out and not self._send_left_out():
                return False
            if taken := self._send(self._next, kind, orjson.Fragment(data)):
                self._streamed -= 1
                self._streamed_bytes -= len(data)
        self._next += taken
        return taken

    def _send_left_out(self) -> bool:
        """Say in their place how many are missing."""
        data = {
            "level": "warning",
            "message": "Kafka was away; lines and output from before were left out",
            "fields": {"events": self._left_out},
            "time": datetime.now(UTC),
        }
        if not self._send(self._next, EventKind.LOG, data):
            return False
        self._next += 1
        self._left_out = 0
        return True

    def _send(self, seq: int, kind: EventKind, data: Mapping[str, Any] | orjson.Fragment, merged: int = 0) -> bool:
        at = Position(self._epoch, seq)
        return self._sink(self._task, self._tenant, self._root, at, kind, data, self._traceparent, merged)
