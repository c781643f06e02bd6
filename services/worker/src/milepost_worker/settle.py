"""What follows from an outcome: one fenced write, then the events that tell of it."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import orjson

from milepost.announce import TERMINAL_KINDS, Announcer
from milepost.domain.failures import fingerprint
from milepost.domain.retry import End, RetryPolicy, after_failure
from milepost.errors import Unavailable
from milepost.runtime.batching import GroupCommit
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost.store import Finish, Moved, Release, Retry, Store
from milepost.store.connection import transient
from milepost.store.records import PRIORITY_NAMES
from milepost.store.view import inline_result
from milepost_schemas import EventKind, TaskState
from milepost_worker.attempt import Attempt
from milepost_worker.outcome import Dropped, Failed, Outcome, Stopped, Succeeded, error_json, out_of_time

log = get_logger("milepost.worker.settle")


class Settler:
    """Writes outcomes in groups and announces them."""

    def __init__(self, store: Store, announcer: Announcer, settings: Settings) -> None:
        self._store = store
        self._announcer = announcer
        self._policy = RetryPolicy(base=settings.retry_base, cap=settings.retry_cap)
        self._finish = GroupCommit[Finish, Moved | None](store.finish, transient=transient)
        self._retry = GroupCommit[Retry, Moved | None](store.retry, transient=transient)
        self._release = GroupCommit[Release, Moved | None](store.release, transient=transient)

    async def settle(self, attempt: Attempt, outcome: Outcome) -> float | None:
        """Write an outcome; return seconds until a retry is due, None without one.

        Tries until Postgres answers: as long as nobody took the task away it is still ours to finish, and once
        somebody did, the epoch makes the write find nothing.
        """
        seq, patch = attempt.trail.close()
        progress = attempt.trail.progress_json
        data: dict[str, Any] = {}
        match outcome:
            case Dropped():
                return None
            case Succeeded(result):
                row = Finish(attempt.held, seq, TaskState.SUCCEEDED, result=result, progress=progress)
                moved = await self._persist(self._finish, row)
                shown = inline_result(result)
                data = {"result": None if shown is None else orjson.Fragment(shown), "error": None}
                self._ended(attempt, moved, patch, data)
            case Stopped():
                stopped = Finish(attempt.held, seq, TaskState.CANCELLED, progress=progress)
                self._ended(attempt, await self._persist(self._finish, stopped), patch, {})
            case Failed(error, asked):
                claimed = attempt.claimed
                policy = attempt.definition.retry or self._policy
                verdict = after_failure(
                    policy,
                    attempt=claimed.attempt,
                    max_attempts=claimed.max_attempts,
                    permanent=not error.retryable or policy.gives_up_on(error.type),
                    asked_delay=asked,
                    chance=random.random(),  # noqa: S311 - spread, not secrecy
                    now=asyncio.get_running_loop().time(),
                    deadline=attempt.deadline,
                )
                error = out_of_time(error) if verdict.end is End.TIME else error
                kind = fingerprint(claimed.type, error.type, error.message)
                text = error_json(error.model_copy(update={"fingerprint": kind}))
                data = {"error": orjson.Fragment(text)}
                log.info("attempt failed", error_type=error.type, error=error.message[:200], retry_in=verdict.delay)
                if verdict.delay is None:
                    failed = Finish(attempt.held, seq, TaskState.FAILED, error=text, progress=progress)
                    self._ended(attempt, await self._persist(self._finish, failed), patch, data)
                    return None
                again = Retry(attempt.held, seq, verdict.delay, text, progress)
                moved = await self._persist(self._retry, again)
                if moved is not None and moved.state is TaskState.SCHEDULED:
                    data |= {"state": moved.state, "due_at": moved.due_at}
                    attempt.trail.send_last(EventKind.RETRYING, patch | data)
                    return verdict.delay
                self._ended(attempt, moved, patch, data)
        return None

    async def release(self, attempt: Attempt) -> None:
        """Give a task back to its queue, for somebody else to start at once."""
        seq, patch = attempt.trail.close()
        moved = await self._persist(self._release, Release(attempt.held, seq))
        if moved is None or moved.state is not TaskState.QUEUED:
            self._ended(attempt, moved, patch, {})
            return
        claimed = attempt.claimed
        attempt.trail.send_last(EventKind.QUEUED, patch | {"state": moved.state, "attempt": moved.attempt})
        self._announcer.dispatch(
            claimed.id,
            claimed.tenant,
            claimed.type,
            claimed.queue,
            PRIORITY_NAMES[claimed.priority],
            claimed.epoch,
            claimed.traceparent,
        )

    async def _persist(self, commit: GroupCommit[Any, Moved | None], row: Finish | Retry | Release) -> Moved | None:
        tries = 0
        while True:
            try:
                return await commit(row)
            except Unavailable as error:
                if tries == 0:
                    log.warning("Postgres is away; the outcome is kept and written when it is back", error=str(error))
                # Soon again: the sweep of others must not find the lease run out before this is written.
                await asyncio.sleep(jittered(tries, cap=0.5))
                tries += 1

    def _ended(self, attempt: Attempt, moved: Moved | None, patch: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        claimed = attempt.claimed
        if moved is None:
            # Either the task was taken away and is somebody else's to tell of, or our own first write did get
            # through before the connection broke: then the outbox holds it, and its sweep tells.
            log.info("outcome was not written: the task is not ours any more, or it had been written before")
            return
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
        self._announcer.completion(claimed.id, claimed.tenant, claimed.root_id, view, claimed.traceparent)
