"""One claimed task, from the claim to an outcome."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context as LogContext
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from milepost.runtime.logs import at_work, get_logger, task_at_work
from milepost.store import Claimed
from milepost.store.view import claimed_view
from milepost.tasks.definition import TaskDefinition
from milepost_schemas import EventKind
from milepost_worker.execution.inline import ThreadJob, call
from milepost_worker.execution.job import Job, Tells
from milepost_worker.execution.leftovers import Leftovers
from milepost_worker.execution.postmortem import Limits
from milepost_worker.execution.processes import Kept
from milepost_worker.outcome import (
    TOTAL_TIMEOUT,
    Dropped,
    Failed,
    Outcome,
    Stopped,
    Succeeded,
    ended,
    refused_payload,
)
from milepost_worker.spans import Run
from milepost_worker.trail import Trail
from milepost_worker.voice import Outlets, Voice

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


@dataclass(frozen=True, slots=True)
class Runners:
    """What jobs run on: shared by all attempts of a worker."""

    thread: Callable[[TaskDefinition, tuple[object, ...]], ThreadJob]
    process: Callable[[dict[str, object], Limits, Tells, float, Kept], Awaitable[Job]]
    leftovers: Leftovers


class Attempt:
    """A claimed task while it is ours. `lease_until` is by `time.monotonic`, and moved by the keeper's thread."""

    __slots__ = (
        "__weakref__",
        "_context",
        "_ended",
        "_job",
        "_keep_until",
        "_lease_until",
        "_loop",
        "_runners",
        "_task",
        "_timer",
        "_winding_up",
        "began",
        "claimed",
        "context",
        "deadline",
        "definition",
        "given_up",
        "held",
        "reason",
        "refused",
        "run",
        "said",
        "settling",
        "since",
        "told_of",
        "trail",
        "voice",
    )

    def __init__(
        self,
        claimed: Claimed,
        definition: TaskDefinition,
        runners: Runners,
        outlets: Outlets,
        lease_until: float,
        run: Run | None = None,
    ) -> None:
        """`run` is its span; None if its trace is not recorded."""
        self.claimed = claimed
        self.run = run
        self.held = claimed.held
        """What every write about it names."""
        self.definition = definition
        self._lease_until = lease_until
        self._keep_until: Callable[[float], None] | None = None
        self._runners = runners
        self._loop = outlets.loop
        self.began = self._loop.time()
        self.deadline = None if claimed.left_s is None else self.began + claimed.left_s
        """When the task's total time is over, by the loop's clock; None: never."""
        self.since = time.monotonic()
        """When it began, by a clock that other threads can read; `began` is by the loop's."""
        self.given_up = False
        """Whether the keeper left the task to the sweep: it is not renewed any more."""
        self._context: LogContext | None = None
        self._task: asyncio.Task[Succeeded | Failed] | None = None
        self._job: Job | None = None
        """What runs the handler outside the loop, once it was started; None for one on the loop."""
        self._timer: asyncio.TimerHandle | None = None
        self._winding_up: asyncio.Task[None] | None = None
        self._ended: Callable[[Attempt, Outcome], None] | None = None
        self.said: dict[str, Any] = {}
        """How it failed, for the log."""
        self.settling = False
        """Whether the handler is done with and the outcome is on its way to Postgres."""
        self.refused = False
        """Whether Postgres would not take the outcome."""
        self.reason: StopReason | None = None
        """Why it was stopped from outside; None if it was not."""
        c = claimed
        self.told_of = c.traceparent if run is None else run.told
        """The traceparent of what follows from it."""
        self.trail = Trail(outlets.events, c.id, c.tenant, c.root_id, c.epoch, self.told_of)
        # The whole task: whoever hears of it for the first time by this needs nothing else.
        self.trail.add(EventKind.STARTED, claimed_view(claimed))
        self.voice = Voice(claimed, self.trail, outlets)
        self.context = self.voice.context

    @property
    def id(self) -> UUID:
        """Of the task."""
        return self.claimed.id

    @property
    def timeout_s(self) -> float | None:
        """Seconds it may take: what the submitter said, else what the type says."""
        return self.claimed.timeout_s if self.claimed.timeout_s is not None else self.definition.timeout_s

    @property
    def seconds(self) -> float:
        """How long it has run until now."""
        return self._loop.time() - self.began

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
        return task is self._task or _context_of(task) == self.id

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to end; the first reason counts."""
        if self.reason is not None:
            return
        self.reason = reason
        if reason is StopReason.CANCELLED:
            self.trail.add(EventKind.CANCELLING, {})
            self.voice.tell()
        self.context.cancel()
        self._wind_up()

    def start(self, ended: Callable[["Attempt", Outcome], None]) -> None:
        """Start the handler, unless it was stopped already; `ended` is called once, on the loop, whatever it does."""
        self._ended = ended
        # All that happens to it happens in one context, so that every line of the log names the task.
        context = self._context = copy_context()
        context.run(at_work, self.id, self.context.trace_id)
        if self.run is not None:
            self.run.lend_to(context)
        if self.reason is not None:
            outcome = Stopped() if self.reason is StopReason.CANCELLED else Dropped()
            self._loop.call_soon(self._end, outcome, context=context)
            return
        self._task = task = self._loop.create_task(self._run(), context=context)
        task.add_done_callback(self._handler_ended, context=context)
        ends_at = self._ends_at()
        if ends_at is not None:
            self._timer = self._loop.call_at(ends_at, self._wind_up)

    async def _run(self) -> Succeeded | Failed:
        # In one asyncio task with the handler, for one on the loop: a second one costs more than a short handler does.
        try:
            payload = self.definition.payload.validate_json(self.claimed.payload)
        except ValidationError as error:
            return refused_payload(error)
        try:
            if self.on_the_loop:
                self.voice.begin()
                return await call(self.definition, self.definition.arguments(self.context, payload))
            return await self._apart(payload)
        finally:
            # Not only when the loop gets to its end: until then the pump would tell separately what goes with the end.
            self.voice.close()

    async def _apart(self, payload: object) -> Succeeded | Failed:
        if self.definition.isolation == "process":
            job = await self._start_process()
        else:
            self.voice.begin()
            job = self._runners.thread(self.definition, self.definition.arguments(self.context, payload))
        self._job = job
        if self._winding_up is not None:  # it was stopped while it was being started
            job.ask_to_stop()
        if self.settling:
            job.end()
        return await job.finished

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
            "run": None if self.run is None else self.run.me,
            "epoch": c.epoch,
            "payload": c.payload,
        }
        self.voice.begin()
        limits = Limits(self.definition.memory, self.definition.cpu_s)
        return await self._runners.process(job, limits, self.voice.tells(), self._lease_until, self._kept_by)

    def _kept_by(self, keep: Callable[[float], None]) -> None:
        self._keep_until = keep
        keep(self._lease_until)  # it may have been renewed meanwhile

    def _handler_ended(self, task: "asyncio.Task[Succeeded | Failed]") -> None:
        if self._winding_up is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._end(_outcome_of(task))

    def _end(self, outcome: Outcome) -> None:
        """Hand the outcome on. What the attempt holds on to is let go, so that nothing of it hangs in a cycle."""
        self.voice.close()
        self.settling = True
        if self.run is not None:
            self.run.ended(outcome, None if self.reason is None else self.reason.value)
        ended, self._ended, self._timer, self._job = self._ended, None, None, None
        if ended is not None:
            ended(self, outcome)

    def _wind_up(self) -> None:
        """Stop the handler, unless it has ended or is being stopped already."""
        if self._task is not None and self._winding_up is None and not self.settling:
            self._winding_up = self._loop.create_task(self._stop(), context=self._context)

    async def _stop(self) -> None:
        """Ask the handler to end, then end it; what cannot be ended is left behind. Bounded."""
        task = self._task
        assert task is not None  # noqa: S101 - it is made before anything can be stopped
        self.context.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._ask(task, end=False)
        await asyncio.wait({task}, timeout=self._grace_s())
        if not task.done():
            self._ask(task, end=True)
            await asyncio.wait({task}, timeout=END_S)
        if not task.done():
            self._runners.leftovers.add(self.definition, task)
        self._end(self._stopped(task))

    def _ask(self, task: "asyncio.Task[Any]", *, end: bool) -> None:
        """Ask the handler to stop, or `end` it; all that can be done to a coroutine is to cancel it."""
        if self.on_the_loop:
            task.cancel()
        elif self._job is not None:
            self._job.end() if end else self._job.ask_to_stop()

    def _stopped(self, task: "asyncio.Task[Succeeded | Failed]") -> Outcome:
        match self.reason:
            case None:
                return self._too_late()
            case StopReason.CANCELLED:
                return Stopped()
            case StopReason.RELEASED if task.done():
                # It may have come to its end after all: better than running it again.
                outcome = _outcome_of(task)
                return outcome if isinstance(outcome, Succeeded) else Dropped()
        return Dropped(ended=task.done())

    def _grace_s(self) -> float:
        """Return how long the handler may take to end: as long as usual, and no longer than its task is surely ours."""
        if self.reason is not StopReason.LEASE_LOST:
            return GRACE_S
        return min(GRACE_S, max(0.0, self._lease_until - time.monotonic()))

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


def _outcome_of(task: "asyncio.Task[Succeeded | Failed]") -> Succeeded | Failed:
    """Return how a handler ended; that it could not be run is our fault, and is logged."""
    if task.cancelled():
        return ended("Cancelled", "The handler was cancelled.")
    error = task.exception()
    if error is None:
        return task.result()
    log.error("the attempt could not be run", exc_info=error)
    return ended("CannotRun", f"The worker could not run the handler: {error!r}")


def _context_of(task: asyncio.Task[Any]) -> UUID | None:
    """Return the task of ours that an asyncio task was started by; None if by none, and before Python 3.12."""
    get_context = getattr(task, "get_context", None)
    return None if get_context is None else task_at_work(get_context())
