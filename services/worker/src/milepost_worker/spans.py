"""The span of one run of a task: what it begins with, what it is linked to, how it ended."""

import asyncio
from contextvars import Context
from functools import lru_cache
from time import time_ns
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry.trace import SpanKind

from milepost.log.spans import received
from milepost.runtime import otlp
from milepost.runtime.handlerspan import AttemptSpan, handlers_context
from milepost.runtime.tracing import (
    failed,
    link_to,
    of_task,
    record,
    recorded,
    run_of,
    valid_traceparent,
    within,
)
from milepost.store import Claimed
from milepost_schemas import TaskError
from milepost_schemas.cloudevents import header
from milepost_worker.came import Came
from milepost_worker.outcome import Dropped, Failed, Outcome, Stopped, Succeeded


@lru_cache(1_024)
def _shape(type_: str, queue: str, by: str, topic: str | None) -> bytes:
    static: dict[str, otlp.Value] = {
        # What was taken from Postgres was no message of Kafka's, or none that was read.
        "messaging.system": "postgresql" if topic is None else "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue if topic is None else topic,
        "milepost.task.type": type_,
        "milepost.task.queue": queue,
        "milepost.task.came_by": by,
    }
    return otlp.shape(f"process {type_}", SpanKind.CONSUMER, tuple(static.items()))


class Run:
    """Of a task whose trace is recorded."""

    __slots__ = ("_above", "_added", "_began_ns", "_claimed", "_named", "_own_trace", "_shape", "before", "me", "told")

    def __init__(self, claimed: Claimed, came: Came, task: str, *, own_trace: bool) -> None:
        """`own_trace`: the run begins a trace, and is only linked to that of the submission."""
        trace = claimed.traceparent
        assert trace is not None  # noqa: S101 - `run_for` looks
        self._claimed = claimed
        self._began_ns = time_ns()
        self._named = of_task(task, claimed.tenant)
        self._added: AttemptSpan | None = None
        hint = came.records.get(claimed.id)
        topic = None if hint is None else hint.topic
        self._shape = _shape(claimed.type, claimed.queue, came.how, topic)
        above = trace
        if hint is not None:
            sender = valid_traceparent(header(hint.headers, "traceparent"))
            sender = trace if sender is None or sender[:36] != trace[:36] else sender
            above = within(trace)
            received(above, sender, hint.topic, came.group, (hint.partition, hint.offset), came.began_ns, self._named)
        self._above: str | None = None if own_trace else above
        self._own_trace = own_trace
        self.me = run_of(trace, claimed.id, claimed.epoch, own_trace=own_trace)
        """Its traceparent."""
        self.told = trace if own_trace else self.me
        """What is told of it belongs to: a trace of its own is not that of the task."""
        self.before: asyncio.Future[int | None] | None = None
        """The epoch of the attempt before, as soon as Postgres has said it."""

    def lend_to(self, context: Context, task: str) -> None:
        """Have what runs in a context find this span as the current one."""
        self._added = AttemptSpan(self.me)
        context.run(otel.attach, handlers_context(self._added, task, self._claimed.tenant))

    def ended(self, outcome: Outcome, reason: str | None) -> None:
        """Record it; `reason` says why it was stopped from outside."""
        ended_ns, before = time_ns(), self.before
        if before is None or before.done():
            self._record(outcome, reason, ended_ns)
        else:  # a short one, and an answer that is on its way
            before.add_done_callback(lambda _: self._record(outcome, reason, ended_ns))

    def _record(self, outcome: Outcome, reason: str | None, ended_ns: int) -> None:
        claimed, trace = self._claimed, self._claimed.traceparent
        error = outcome.error if isinstance(outcome, Failed) else None
        lost = isinstance(outcome, Dropped) and reason == "lease lost"
        parts = [
            self._named,
            otlp.known("milepost.task.attempt", claimed.attempt),
            otlp.known("milepost.task.epoch", claimed.epoch),
            otlp.known(
                "milepost.task.outcome", reason if isinstance(outcome, Dropped) and reason else _NAMES[type(outcome)]
            ),
        ]
        if self._added is not None:
            parts.append(self._added.added(failed=error is not None or lost))
        if trace is not None:
            parts.append(link_to(trace))
            before = self.before
            if before is not None and not before.cancelled() and before.exception() is None and (at := before.result()):
                parts.append(link_to(run_of(trace, claimed.id, at, own_trace=self._own_trace)))
        if error is not None:
            parts.append(_failure(error))
        elif lost:
            parts.append(failed("LeaseLost"))
        record(self._shape, self.me, self._above, self._began_ns, b"".join(parts), ended_ns)


_NAMES: Final = {Succeeded: "succeeded", Failed: "failed", Stopped: "cancelled", Dropped: "dropped"}


def _failure(error: TaskError) -> bytes:
    said: dict[str, Any] = {"exception.type": error.type, "exception.message": error.message}
    if error.traceback:
        said["exception.stacktrace"] = error.traceback
    return failed(error.type, error.message, said)


def run_for(claimed: Claimed, came: Came, task: str, *, own_trace: bool) -> Run | None:
    """Return the span of a run; None if its trace is not recorded."""
    return Run(claimed, came, task, own_trace=own_trace) if recorded(claimed.traceparent) else None


def lost(row: Any, *, own_trace: bool) -> None:
    """Record the run of a worker that died, in its place: from its start until the sweep that found it gone."""
    trace: str | None = row["traceparent"]
    if trace is None or not recorded(trace):
        return
    parts = (
        of_task(str(row["id"]), row["tenant"]),
        otlp.known("milepost.task.attempt", row["attempt"]),
        otlp.known("milepost.task.epoch", row["epoch"] - 1),
        otlp.known("milepost.task.outcome", "lease lost"),
        link_to(trace),
        failed("LeaseLost", "The worker that ran it is gone; this was recorded by the one that took it back."),
    )
    began_ns = time_ns() if row["started_at"] is None else int(row["started_at"].timestamp() * 1e9)
    shape = _shape(row["type"], row["queue"], "unknown", None)
    me = run_of(trace, row["id"], row["epoch"] - 1, own_trace=own_trace)
    record(shape, me, None if own_trace else trace, began_ns, b"".join(parts))
