"""Where the lines of all handlers of a worker come together, however they run."""

from typing import Protocol

from milepost.runtime.logs import get_logger
from milepost.runtime.tracing import trace_id_of
from milepost.store import Claimed
from milepost.tasks.loglines import LogLine

log = get_logger("milepost.worker.handler")


class HandlerLogSink(Protocol):
    """Takes each line that a handler logged and that was not too many. The one place to send them elsewhere from."""

    def __call__(self, claimed: Claimed, line: LogLine, /) -> None:
        """Take one line of the attempt that was claimed so. From any thread; must not block."""


def to_the_workers_log(claimed: Claimed, line: LogLine, /) -> None:
    """Write a line to the worker's own log. Its fields stay apart, so that none can pass for what the worker says."""
    getattr(log, line.level)(
        line.message,
        task=str(claimed.id),
        type=claimed.type,
        attempt=claimed.attempt,
        epoch=claimed.epoch,
        trace_id=trace_id_of(claimed.traceparent),
        fields=line.fields,
    )
