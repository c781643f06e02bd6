"""The span of one run of a task: what it begins with, what it is linked to, how it ended."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context
from functools import lru_cache
from time import time_ns
from typing import Any, Final
from uuid import UUID

from opentelemetry import context as otel
from opentelemetry.trace import SpanKind

from milepost.log.spans import Taking
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


def polls(claimed: Sequence[Claimed], came: Came) -> Mapping[UUID, str]:
    """Record the reading of hints until their tasks were claimed; return the traceparents that attempts are under.

    Hints that follow from the same `send` share a span: those of a batch, submitted together and claimed together.
    """
    if not came.records:
        return {}
    takings: dict[str, Taking] = {}
    above: dict[UUID, str] = {}
    for task in claimed:
        trace, hint = task.traceparent, came.records.get(task.id)
        if hint is None or trace is None or not recorded(trace):
            continue
        sender = valid_traceparent(header(hint.headers, "traceparent"))
        if sender is None or sender[:36] != trace[:36]:
            sender = trace
        taking = takings.get(sender)
        if taking is None:
            taking = takings[sender] = Taking(sender, within(trace), hint, task.id, task.tenant)
        else:
            taking.add(task.id)
        above[task.id] = taking.me
    for taking in takings.values():
        taking.polled(came.group, came.began_ns)
    return above


class Run:
    """Of a task whose trace is recorded."""

    __slots__ = ("_above", "_added", "_began_ns", "_claimed", "_how", "_own_trace", "_topic", "before", "me", "told")

    def __init__(self, claimed: Claimed, came: Came, above: str | None, *, own_trace: bool) -> None:
        """`above`: the span that brought it, as of `polls`. `own_trace`: it begins a trace, linked to the other."""
        trace = claimed.traceparent
        assert trace is not None  # noqa: S101 - `run_for` looks
        self._claimed = claimed
        self._began_ns = time_ns()
        self._added: AttemptSpan | None = None
        hint = came.records.get(claimed.id)
        self._how, self._topic = came.how.value, None if hint is None else hint.topic
        self._above: str | None = None if own_trace else above or trace
        self._own_trace = own_trace
        self.me = run_of(trace, claimed.id, claimed.epoch, own_trace=own_trace)
        """Its traceparent."""
        self.told = trace if own_trace else self.me
        """What is told of it belongs to: a trace of its own is not that of the task."""
        self.before: asyncio.Future[int | None] | None = None
        """The epoch of the attempt before, as soon as Postgres has said it."""

    def lend_to(self, context: Context) -> None:
        """Have what runs in a context find this span as the current one."""
        self._added = AttemptSpan(self.me)
        context.run(otel.attach, handlers_context(self._added, str(self._claimed.id), self._claimed.tenant))

    def ended(self, outcome: Outcome, reason: str | None) -> None:
        """Record it; `reason` says why it was stopped from outside."""
        ended_ns, before = time_ns(), self.before
        if before is None or before.done():
            self._record(outcome, reason, ended_ns)
        else:  # a short one, and an answer that is on its way
            before.add_done_callback(lambda _: self._record(outcome, reason, ended_ns))

    def _record(self, outcome: Outcome, reason: str | None, ended_ns: int) -> None:
        c, trace = self._claimed, self._claimed.traceparent
        error = outcome.error if isinstance(outcome, Failed) else None
        lost = isinstance(outcome, Dropped) and reason == "lease lost"
        how_it_ended = reason if isinstance(outcome, Dropped) and reason else _NAMES[type(outcome)]
        more = b"" if self._added is None else self._added.added(failed=error is not None or lost)
        before = self.before
        if trace is not None and before is not None and not before.cancelled() and before.exception() is None:
            more += self._link(trace, before.result())
        if error is not None:
            more += _failure(error)
        elif lost:
            more += failed("LeaseLost")
        named = c.type, c.queue, self._how, self._topic, c.id, c.tenant, c.attempt, c.epoch, how_it_ended, trace, more
        record(_ran, self.me, self._above, self._began_ns, ended_ns, *named)

    def _link(self, trace: str, epoch: int | None) -> bytes:
        before = run_of(trace, self._claimed.id, epoch, own_trace=self._own_trace) if epoch else None
        return b"" if before is None else link_to(before)


def _ran(
    type_: str,
    queue: str,
    by: str,
    topic: str | None,
    task: UUID,
    tenant: str,
    attempt: int,
    epoch: int,
    outcome: str,
    trace: str | None,
    more: bytes,
) -> bytes:
    return b"".join(
        (
            _shape(type_, queue, by, topic),
            of_task(task, tenant),
            otlp.known("milepost.task.attempt", attempt),
            otlp.known("milepost.task.epoch", epoch),
            otlp.known("milepost.task.outcome", outcome),
            b"" if trace is None else link_to(trace),
            more,
        )
    )


_NAMES: Final = {Succeeded: "succeeded", Failed: "failed", Stopped: "cancelled", Dropped: "dropped"}


def _failure(error: TaskError) -> bytes:
    said: dict[str, Any] = {"exception.type": error.type, "exception.message": error.message}
    if error.traceback:
        said["exception.stacktrace"] = error.traceback
    return failed(error.type, error.message, said)


def run_for(claimed: Claimed, came: Came, above: str | None, *, own_trace: bool) -> Run | None:
    """Return the span of a run; None if its trace is not recorded."""
    return Run(claimed, came, above, own_trace=own_trace) if recorded(claimed.traceparent) else None


def lost(row: Any, *, own_trace: bool) -> None:
    """Record the run of a worker that died, in its place: from its start until the sweep that found it gone."""
    trace: str | None = row["traceparent"]
    if trace is None or not recorded(trace):
        return
    why = failed("LeaseLost", "The worker that ran it is gone; this was recorded by the one that took it back.")
    epoch = row["epoch"] - 1
    named = row["type"], row["queue"], "unknown", None, row["id"], row["tenant"], row["attempt"], epoch, "lease lost"
    began_ns = time_ns() if row["started_at"] is None else int(row["started_at"].timestamp() * 1e9)
    me = run_of(trace, row["id"], epoch, own_trace=own_trace)
    record(_ran, me, None if own_trace else trace, began_ns, 0, *named, trace, why)
