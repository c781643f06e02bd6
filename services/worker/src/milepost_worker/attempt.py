"""One claimed task, from the claim to an outcome."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from milepost.runtime.logs import at_work, get_logger, task_at_work
from milepost.runtime.tracing import span, trace_id_of, tracing_on
from milepost.store import Claimed, Held
from milepost.store.view import claimed_view
from milepost.tasks.context import Context
from milepost.tasks.definition import TaskDefinition
from milepost_schemas import EventKind
from milepost_worker.execution.inline import CoroutineJob, ThreadJob
from milepost_worker.execution.job import Job, Progress
from milepost_worker.execution.leftovers import Leftovers
from milepost_worker.execution.postmortem import Limits
from milepost_worker.execution.processes import Kept
from milepost_worker.outcome import TOTAL_TIMEOUT, Dropped, Outcome, Stopped, Succeeded, ended, refused_payload
from milepost_worker.trail import EventSink, Trail

log = get_logger("milepost.worker.attempt")

GRACE_S = 5.0
"""Between asking a handler to stop and ending it, or leaving alone what cannot be ended."""


END_S = 2.0
"""For a process to end: SIGTERM, and SIGKILL a second later."""


class StopReason(Enum):
    """Why an attempt was stopped from outside."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease lost"
    RELEASED = "released"


class Runners:
    """What jobs run on: shared by all attempts of a worker."""

    def __init__(
        self,
        thread: Callable[[TaskDefinition, tuple[object, ...]], ThreadJob],
        process: Callable[[dict[str, object], Limits, Progress, float, Kept], Awaitable[Job]],
        leftovers: Leftovers,
    ) -> None:
        self.thread = thread
        self.process = process
        self.leftovers = leftovers


class Attempt:
    """A claimed task while it is ours. `lease_until` is by `time.monotonic`, and moved on by the keeper's thread."""

    def __init__(
        self,
        claimed: Claimed,
        definition: TaskDefinition,
        runners: Runners,
        sink: EventSink,
        lease_until: float,
        tell: Callable[["Attempt"], None],
    ) -> None:
        """`tell` is called when there is something to send, on the loop; it must not wait."""
        self.claimed = claimed
        self.definition = definition
        self._lease_until = lease_until
        self._keep_until: Callable[[float], None] | None = None
        self._runners = runners
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self.deadline = None if claimed.left_s is None else self.began + claimed.left_s
        """When the task's total time is over, by the loop's clock; None: never."""
        self.running_since = math.inf
        """When the handler began, by the loop's clock: a busy worker gets to it some time after the claim."""
        self.since = time.monotonic()
        """When it began, by a clock that other threads can read; `began` is by the loop's."""
        self.given_up = False
        """Whether the keeper left the task to the sweep: it is not renewed any more."""
        self._task: asyncio.Task[Any] | None = None
        self._job: Job | None = None
        self.settling = False
        """Whether the handler is done with and the outcome is on its way to Postgres."""
        self.reason: StopReason | None = None
        """Why it was stopped from outside; None if it was not."""
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._finished: asyncio.Future[Any] | None = None
        self.told_progress = False
        """Whether the handler ever told progress; from then on it may hold some back."""
        self.trail = Trail(sink, claimed.id, claimed.tenant, claimed.root_id, claimed.epoch, claimed.traceparent)
        # The whole task: whoever hears of it for the first time by this needs nothing else.
        self.trail.add(EventKind.STARTED, claimed_view(claimed))
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
        )

    @property
    def id(self) -> UUID:
        """Of the task."""
        return self.claimed.id

    @property
    def held(self) -> Held:
        """What every write about it names."""
        return self.claimed.held

    @property
    def ending(self) -> bool:
        """Whether the handler has ended: what is there to tell goes with that."""
        return self.settling or (self._finished is not None and self._finished.done())

    @property
    def timeout_s(self) -> float | None:
        """Seconds it may take: what the submitter said, else what the type says."""
        return self.claimed.timeout_s if self.claimed.timeout_s is not None else self.definition.timeout_s

    @property
    def lease_until(self) -> float:
        """Until when the task is surely ours."""
        return self._lease_until

    @lease_until.setter
    def lease_until(self, until: float) -> None:
        self._lease_until = until
        if self._keep_until is not None:
            self._keep_until(until)

    @property
    def on_the_loop(self) -> bool:
        """Whether the handler runs on the worker's own loop, and so can block it."""
        return self.definition.asynchronous and self.definition.isolation != "process"

    def runs_in(self, task: asyncio.Task[Any]) -> bool:
        """Whether an asyncio task is this attempt's; may be asked from any thread."""
        job = self._job
        return task is self._task or (job is not None and job.finished is task) or _context_of(task) == self.id

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to end; the first reason counts."""
        if self.reason is not None:
            return
        self.reason = reason
        if reason is StopReason.CANCELLED:
            self.trail.add(EventKind.CANCELLING, {})
            self._tell(self)
        self.context.cancel()
        self._wake()

    async def run(self) -> Outcome:
        """Run the handler to an outcome. Never raises for what a handler does."""
        at_work(self.id, self.context.trace_id)
        self._task = asyncio.current_task()
        try:
            payload = self.definition.payload.validate_json(self.claimed.payload)
        except ValidationError as error:
            return refused_payload(error)
        if not tracing_on():
            return await self._handle(payload)
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": self.claimed.queue,
            "milepost.task.id": str(self.id),
            "milepost.task.type": self.claimed.type,
            "milepost.task.attempt": self.claimed.attempt,
        }
        with span(f"process {self.claimed.type}", SpanKind.CONSUMER, self.claimed.traceparent, attributes):
            return await self._handle(payload)

    async def _handle(self, payload: object) -> Outcome:
        apart = self.definition.isolation == "process"
        self._job = await self._start_process() if apart else self._start_here(payload)
        return await self._supervise(self._job)

    async def _start_process(self) -> Job:
        c = self.claimed
        job = {
            "id": str(c.id),
            "type": c.type,
            "queue": c.queue,
            "tenant": c.tenant,
            "attempt": c.attempt,
            "max_attempts": c.max_attempts,
            "labels": self.context.labels,
            "trace_id": self.context.trace_id,
            "epoch": c.epoch,
            "payload": c.payload,
        }
        self._begin()
        limits = Limits(self.definition.memory, self.definition.cpu_s)
        return await self._runners.process(job, limits, self._progress, self._lease_until, self._kept_by)

    def _start_here(self, payload: object) -> Job:
        arguments = self.definition.arguments(self.context, payload)
        if self.definition.asynchronous:
            return CoroutineJob(self.definition, arguments, self._begin)
        self._begin()
        return self._runners.thread(self.definition, arguments)

    def _begin(self) -> None:
        """Note that the handler begins: from here its start is told, unless its end comes at once."""
        self.running_since = self._loop.time()
        self._tell(self)

    def _kept_by(self, keep: Callable[[float], None]) -> None:
        self._keep_until = keep
        keep(self._lease_until)  # it may have been renewed meanwhile

    async def _supervise(self, job: Job) -> Outcome:
        finished = self._finished = job.finished
        # One future for all three ways this can end: asyncio.wait costs more than a short handler does.
        finished.add_done_callback(self._wake)
        ends_at = self._ends_at()
        timer = None if ends_at is None else self._loop.call_at(ends_at, self._wake)
        await self._over
        if timer is not None:
            timer.cancel()
        if finished.done() and self.reason is None:
            self._flush_last()
            return finished.result()
        self.context.cancel()
        job.ask_to_stop()
        await asyncio.wait({finished}, timeout=GRACE_S)
        if not finished.done():
            job.end()
            await asyncio.wait({finished}, timeout=END_S)
        if not finished.done():
            self._runners.leftovers.add(self.definition, finished)
        self._flush_last()
        match self.reason:
            case None:
                return self._too_late()
            case StopReason.CANCELLED:
                return Stopped()
            case StopReason.RELEASED if finished.done() and not finished.cancelled():
                # It came to its end after all: better than running it again.
                outcome = finished.result()
                return outcome if isinstance(outcome, Succeeded) else Dropped()
        return Dropped()

    def _ends_at(self) -> float | None:
        """Return when the attempt's own time or the task's total time is over, whichever comes first; None: never."""
        if self.timeout_s is None:
            return self.deadline
        own = self.began + self.timeout_s
        return own if self.deadline is None else min(own, self.deadline)

    def _too_late(self) -> Outcome:
        if self.deadline is not None and self._ends_at() == self.deadline:
            why = f"Attempt {self.claimed.attempt} was stopped because the task's total_timeout was over."
            return ended(TOTAL_TIMEOUT, why, retryable=False)
        return ended("Timeout", f"The attempt took longer than {self.timeout_s:g} s.")

    def _flush_last(self) -> None:
        """Put the last progress into the trail now: what a thread hands over comes a turn of the loop too late."""
        self.context.flush_to(self.trail.add_progress)

    def _wake(self, _: object = None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _progress(self, done: float, total: float | None, unit: str | None, message: str | None) -> None:
        if self.definition.isolation == "process" or self.definition.asynchronous:
            self._got_on(done, total, unit, message)
        else:
            self._loop.call_soon_threadsafe(self._got_on, done, total, unit, message)

    def _got_on(self, done: float, total: float | None, unit: str | None, message: str | None) -> None:
        self.told_progress = True
        self.trail.add_progress(done, total, unit, message)
        self._tell(self)


def _context_of(task: asyncio.Task[Any]) -> UUID | None:
    """Return the task of ours that an asyncio task was started by; None if by none, and before Python 3.12."""
    get_context = getattr(task, "get_context", None)
    return None if get_context is None else task_at_work(get_context())
