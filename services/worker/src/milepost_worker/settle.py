"""What follows from an outcome: one fenced write, then the events that tell of it."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from milepost.announce import TERMINAL_KINDS, Announcer, Hint
from milepost.domain.failures import fingerprint
from milepost.domain.retry import End, RetryPolicy, after_failure
from milepost.errors import Unavailable
from milepost.runtime import transitions
from milepost.runtime.batching import GroupCommit
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger, logs_at
from milepost.runtime.settings import Settings
from milepost.store import Finish, GivenUp, Moved, Release, Retry, Store
from milepost.store.connection import transient
from milepost.store.records import PRIORITY_NAMES
from milepost.store.view import inline_result
from milepost_schemas import EventKind, TaskError, TaskState
from milepost_worker import meter
from milepost_worker.attempt import Attempt, StopReason
from milepost_worker.meter import Over
from milepost_worker.outcome import Dropped, Failed, Outcome, Stopped, Succeeded, ended, error_json, out_of_time

log = get_logger("milepost.worker.settle")


_LET_GO = TaskError(
    type="LeaseLost",
    message="The worker could not renew the lease in time and stopped the handler before the lease ran out.",
    retryable=True,
)
_Row = Finish | Retry | Release | GivenUp
Then = Callable[[Moved | None], float | None]
"""What follows from a write: tells of it, and returns the seconds until a retry is due, None without one."""


class Settler:
    """Writes outcomes in groups and announces them.

    It tries until Postgres answers: as long as nobody took the task away it is still ours to finish, and once somebody
    did, the epoch makes the write find nothing.
    """

    def __init__(
        self,
        store: Store,
        announcer: Announcer,
        settings: Settings,
        settled: Callable[[Attempt, float | None], None],
    ) -> None:
        """`settled` is called once for each attempt, with the seconds until its retry is due (None: no retry)."""
        self._announcer = announcer
        self._policy = RetryPolicy(base=settings.retry_base, cap=settings.retry_cap)
        self._settled = settled
        self._finish = GroupCommit[Finish, Moved | None](store.finish, transient=transient)
        self._retry = GroupCommit[Retry, Moved | None](store.retry, transient=transient)
        self._release = GroupCommit[Release, Moved | None](store.release, transient=transient)
        self._abandon = GroupCommit[GivenUp, Moved | None](partial(_abandon, store), transient=transient)

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """Have an outcome written. Never raises: whatever goes wrong, the attempt does not hang."""
        try:
            self._settle(attempt, outcome)
        except Exception as error:  # noqa: BLE001 - our own fault
            self.cannot_write(attempt, error)

    def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        seq, patch = attempt.trail.close(tell=not isinstance(outcome, Dropped))
        progress = attempt.trail.progress_json
        match outcome:
            case Dropped(ended=True) if attempt.reason is StopReason.LEASE_LOST:
                self._over(attempt, Over.LOST)
                self._leave(attempt)
            case Dropped():
                self._over(attempt, Over.LOST)
                self._settled(attempt, None)
            case Succeeded(result):
                row = Finish(
                    attempt.held, seq, TaskState.SUCCEEDED, result=result, progress=progress, run=_run(attempt)
                )
                shown = inline_result(result)
                data = {"result": None if shown is None else orjson.Fragment(shown), "error": None}
                self._write(attempt, self._finish, row, partial(self._ended, attempt, patch, data))
            case Stopped():
                row = Finish(attempt.held, seq, TaskState.CANCELLED, progress=progress, run=_run(attempt))
                self._write(attempt, self._finish, row, partial(self._ended, attempt, patch, {}))
            case Failed():
                self._settle_failed(attempt, outcome, seq, patch)

    def _settle_failed(self, attempt: Attempt, failed: Failed, seq: int, patch: Mapping[str, Any]) -> None:
        claimed = attempt.claimed
        error, progress = failed.error, attempt.trail.progress_json
        policy = attempt.definition.retry or self._policy
        verdict = after_failure(
            policy,
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts,
            permanent=not error.retryable or policy.gives_up_on(error.type),
            asked_delay=failed.delay,
            chance=random.random(),  # noqa: S311 - spread, not secrecy
            now=asyncio.get_running_loop().time(),
            deadline=attempt.deadline,
        )
        error = out_of_time(error) if verdict.end is End.TIME else error
        kind = fingerprint(claimed.type, error.type, error.message)
        text = error_json(error.model_copy(update={"fingerprint": kind}))
        data = {"error": orjson.Fragment(text)}
        attempt.said = {"error_type": error.type, "error": error.message}
        if verdict.delay is None:
            row = Finish(attempt.held, seq, TaskState.FAILED, error=text, progress=progress, run=_run(attempt))
            self._write(attempt, self._finish, row, partial(self._ended, attempt, patch, data))
        else:
            again = Retry(attempt.held, seq, verdict.delay, text, progress, _run(attempt))
            self._write(attempt, self._retry, again, partial(self._retrying, attempt, patch, data, verdict.delay))

    def release(self, attempt: Attempt) -> None:
        """Have a task given back to its queue, for somebody else to start at once."""
        seq, patch = attempt.trail.close()
        row = Release(attempt.held, seq, _run(attempt))
        self._write(attempt, self._release, row, partial(self._released, attempt, patch))

    def _leave(self, attempt: Attempt) -> None:
        """Leave a task whose lease was about to run out to the next sweep, as soon as Postgres can be told.

        Nobody is at work on it any more, so nobody has to wait for the lease, which a renewal that was on its way for
        long may even have made longer.
        """
        row = GivenUp(attempt.held, error_json(_LET_GO), counts=True)
        self._write(attempt, self._abandon, row, _tells_nobody)

    def _write(self, attempt: Attempt, commit: GroupCommit[Any, Moved | None], row: _Row, then: Then) -> None:
        _Write(self, attempt, commit, row, then).put()

    def written(self, attempt: Attempt, retry_in: float | None) -> None:
        """Say that nothing is left to do for an attempt."""
        self._settled(attempt, retry_in)

    def cannot_write(self, attempt: Attempt, error: BaseException) -> None:
        """Fail an attempt whose outcome Postgres refused: it must not hang until its lease ends, again and again."""
        log.error("the outcome could not be written", exc_info=error)
        if attempt.refused:
            self._over(attempt, Over.LOST)
            self._settled(attempt, None)
            return
        attempt.refused = True
        self.settle(attempt, ended("CannotSettle", f"The outcome could not be written: {error!r}"))

    def _retrying(
        self, attempt: Attempt, patch: Mapping[str, Any], data: dict[str, Any], delay: float, moved: Moved | None
    ) -> float | None:
        if moved is None or moved.state is not TaskState.SCHEDULED:
            self._ended(attempt, patch, data, moved)
            return None
        self._over(attempt, Over.RETRYING)
        meter.retrying(attempt.claimed.queue)
        self._log("retry", attempt, moved, retry_in=delay)
        attempt.trail.send_last(EventKind.RETRYING, {**patch, **data, "state": moved.state, "due_at": moved.due_at})
        return delay

    def _released(self, attempt: Attempt, patch: Mapping[str, Any], moved: Moved | None) -> None:
        if moved is None or moved.state is not TaskState.QUEUED:
            self._ended(attempt, patch, {}, moved)
            return
        self._over(attempt, Over.RELEASED)
        claimed = attempt.claimed
        self._log("release", attempt, moved)
        attempt.trail.send_last(EventKind.QUEUED, {**patch, "state": moved.state, "attempt": moved.attempt})
        self._announcer.dispatch(
            Hint(
                claimed.id,
                claimed.tenant,
                claimed.type,
                claimed.queue,
                PRIORITY_NAMES[claimed.priority],
                claimed.epoch,
                attempt.told_of,
                claimed.key,
            )
        )

    def _ended(self, attempt: Attempt, patch: Mapping[str, Any], data: Mapping[str, Any], moved: Moved | None) -> None:
        claimed = attempt.claimed
        if moved is None:
            # Either the task was taken away and is somebody else's to tell of, or our own first write did get
            # through before the connection broke: then the outbox holds it, and its sweep tells.
            meter.not_written()
            self._over(attempt, Over.LOST)
            log.info("outcome was not written: the task is not ours any more, or it had been written before")
            return
        meter.ended(claimed.queue, moved.state)
        self._over(attempt, Over(moved.state))
        self._log("finish", attempt, moved)
        told = {**patch, **data, "state": moved.state, "finished_at": moved.finished_at, "attempt": claimed.attempt}
        attempt.trail.send_last(TERMINAL_KINDS[moved.state], told)
        view = {
            "type": claimed.type,
            "queue": claimed.queue,
            "epoch": claimed.epoch,
            "labels": attempt.context.labels,
            "created_at": claimed.created_at,
            "started_at": claimed.started_at,
            **told,
        }
        self._announcer.completion(claimed.id, claimed.tenant, claimed.root_id, view, attempt.told_of)

    @staticmethod
    def _over(attempt: Attempt, how: Over) -> None:
        meter.over(attempt, how, time.monotonic() - attempt.since)

    @staticmethod
    def _log(by: str, attempt: Attempt, moved: Moved, **more: Any) -> None:
        c = attempt.claimed
        if logs_at(logging.INFO):
            seconds = round(attempt.seconds, 3)
            tries = c.attempt if moved.attempt is None else moved.attempt
            transitions.moved(
                by, c.id, c.tenant, c.type, c.queue, "running", moved.state, tries, c.epoch, c.traceparent,
                seconds=seconds, **attempt.said, **more,
            )  # fmt: skip


def _run(attempt: Attempt) -> str | None:
    return None if attempt.run is None else attempt.run.me


async def _abandon(store: Store, rows: Sequence[GivenUp]) -> list[Moved | None]:
    """Abandon tasks; they do not move before the sweep."""
    await store.abandon(rows)
    return [None] * len(rows)


def _tells_nobody(_moved: Moved | None) -> None:
    """Say nothing of a task that was left to the sweep, which tells of it."""


class _Write:
    """An outcome on its way to Postgres, until it is written or turns out not to be ours to write."""

    __slots__ = ("_attempt", "_commit", "_row", "_settler", "_then", "_tries")

    def __init__(
        self,
        settler: Settler,
        attempt: Attempt,
        commit: GroupCommit[Any, Moved | None],
        row: _Row,
        then: Then,
    ) -> None:
        self._settler, self._attempt, self._commit, self._row, self._then = settler, attempt, commit, row, then
        self._tries = 0

    def put(self) -> None:
        """Write it with others, again and again while Postgres is away."""
        try:
            future = self._commit.put(self._row)
        except Unavailable as error:
            self._again(error)
        else:
            future.add_done_callback(self._done)

    def _done(self, future: "asyncio.Future[Moved | None]") -> None:
        if future.cancelled():  # the process ends
            self._settler.written(self._attempt, None)
            return
        match future.exception():
            case None:
                self._settler.written(self._attempt, self._tell(future.result()))
            case Unavailable() as error:
                self._again(error)
            case error:
                self._settler.cannot_write(self._attempt, error)

    def _tell(self, moved: Moved | None) -> float | None:
        try:
            return self._then(moved)
        except Exception:
            log.exception("the outcome is in Postgres and could not be told; what is not published is from there")
            return None

    def _again(self, error: Unavailable) -> None:
        if self._tries == 0:
            log.warning("Postgres is away; the outcome is kept and written when it is back", error=str(error))
        # Soon again: the sweep of others must not find the lease run out before this is written.
        asyncio.get_running_loop().call_later(jittered(self._tries, cap=0.5), self.put)
        self._tries += 1
