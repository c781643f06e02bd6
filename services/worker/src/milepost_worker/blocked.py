"""A handler that blocks the main loop: named, then parted from its task, then the process ends. Keeper's thread."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from milepost.domain.blocking import LEFT_AFTER_S, NAMED_AFTER_S, LoopWatch, Step
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import LOOP_BLOCKED
from milepost.runtime.settings import Settings
from milepost.store import GivenUp, Held
from milepost_schemas import TaskError
from milepost_worker import meter
from milepost_worker.attempt import StopReason
from milepost_worker.meter import Lost
from milepost_worker.outcome import MESSAGE_CHARS, clean, error_json
from milepost_worker.running import Running
from milepost_worker.whereabouts import Whereabouts, whereabouts

log = get_logger("milepost.worker.blocked")

TICK_S = 0.25
UNTOLD_AFTER_S = 0.5
"""A loop that does not turn for so long cannot tell a handler in time that its task is not ours any more."""
WRITE_WITHIN_S = 3.0
EXIT_STATUS = 70
"""Of a worker that ended itself because its loop stayed blocked (EX_SOFTWARE)."""

_NOWHERE = Whereabouts(None, "an unknown place", [])
GiveUp = Callable[[list[GivenUp]], Awaitable[set[Held]]]


class Blocked:
    """Asks the main loop to answer four times a second, and acts when it does not."""

    def __init__(self, settings: Settings, main: asyncio.AbstractEventLoop, running: Running, give_up: GiveUp) -> None:
        """To be made in the main loop's thread."""
        self._limit = settings.block_limit
        self._main = main
        self._thread = threading.get_ident()
        self._running = running
        self._give_up = give_up
        self._watch = LoopWatch(TICK_S, time.monotonic())
        self._at = _NOWHERE

    async def watch(self) -> None:
        """Watch until cancelled, or until the main loop is closed."""
        while True:
            now = time.monotonic()
            if self._watch.asks(now):
                self._at = _NOWHERE
                try:
                    self._main.call_soon_threadsafe(self._watch.answered)
                except RuntimeError:
                    await asyncio.Event().wait()
            await self._do(self._watch.look(now, self._limit_s(now), self._limit + LEFT_AFTER_S))
            if self._overdue(now):
                await self._end()
            await asyncio.sleep(TICK_S)

    def _overdue(self, now: float) -> bool:
        """Whether a lease ran out that only the main loop could have acted on: others may run the task by now."""
        blocked_s = self._watch.blocked_s(now)
        return blocked_s > UNTOLD_AFTER_S and any(
            now >= attempt.lease_until
            and (blocked_s > NAMED_AFTER_S or (attempt.reason is None and attempt.on_the_loop and not attempt.settling))
            for attempt in self._running
            if not attempt.given_up
        )

    def _limit_s(self, now: float) -> float:
        """Return how long this block may last: the limit, or less when the task's own time is over before."""
        attempt = self._at.attempt
        blocked_s = self._watch.blocked_s(now)
        if attempt is None or attempt.timeout_s is None or not blocked_s:
            return self._limit
        return min(self._limit, blocked_s + attempt.since + attempt.timeout_s - now)

    async def _do(self, step: Step | None) -> None:
        match step:
            case Step.NAME:
                self._name()
            case Step.GIVE_UP:
                await self._part()
            case Step.END:
                await self._end()

    def _name(self) -> None:
        self._at = whereabouts(self._main, self._thread, self._running)
        LOOP_BLOCKED.add(1)
        attempt = self._at.attempt
        log.warning(
            "a handler blocks the loop; every task of this worker waits for it, their leases are kept",
            task=None if attempt is None else str(attempt.id),
            type=None if attempt is None else attempt.claimed.type,
            at=self._at.place,
            stack=self._at.stack,
            advice="plain functions (def) run in threads; isolation='process' gives a process of its own",
        )

    async def _part(self) -> None:
        """Take the task from the handler that blocks, if it is still the one that did."""
        now_at = whereabouts(self._main, self._thread, self._running)
        if now_at.attempt is not None or self._at.attempt is None:
            self._at = now_at
        attempt = self._at.attempt
        if attempt is None:
            log.error("the loop is blocked for too long, nobody knows by what task", at=self._at.place)
            return
        log.error(
            "the handler blocked the loop for too long; its task is taken from it",
            task=str(attempt.id),
            type=attempt.claimed.type,
            at=self._at.place,
        )
        meter.lost(Lost.BLOCKED)
        attempt.given_up = True
        await self._leave([GivenUp(attempt.held, self._error(), counts=True)])
        self._main.call_soon_threadsafe(attempt.stop, StopReason.LEASE_LOST)

    async def _end(self) -> None:
        """Leave all tasks to others and end the process: whatever watches over it starts a new one."""
        left = [attempt for attempt in self._running if not attempt.settling and not attempt.given_up]
        log.critical(
            "the loop is still blocked; this worker ends itself and leaves its tasks to others",
            tasks=len(left),
            at=self._at.place,
            status=EXIT_STATUS,
        )
        released = TaskError(
            type="Released", message="The worker ended itself: another task blocked its loop.", retryable=True
        )
        neighbours = [
            # Whose fault it is nobody knows: then it counts for all that ran on the loop, or it could go on for ever.
            GivenUp(attempt.held, self._error(), counts=True)
            if self._at.attempt is None and attempt.on_the_loop
            else GivenUp(attempt.held, error_json(released), counts=False)
            for attempt in left
        ]
        await self._leave(neighbours)
        sys.stderr.flush()
        os._exit(EXIT_STATUS)

    async def _leave(self, rows: list[GivenUp]) -> None:
        try:
            async with asyncio.timeout(WRITE_WITHIN_S):
                await self._give_up(rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the process from its end
            log.warning("Postgres does not answer; the tasks are taken back when their leases end", error=repr(error))

    def _error(self) -> str:
        seconds = self._watch.blocked_s(time.monotonic())
        message = (
            f"The handler blocked its worker's loop for {seconds:.0f} s, at {self._at.place}. "
            "Make it a plain function (it gets a thread), or give it isolation='process'."
        )
        return error_json(TaskError(type="LoopBlocked", message=clean(message, MESSAGE_CHARS), retryable=True))
