"""Letting go in time of what is not ours, on the main loop; the keeper renews."""

import asyncio
import time

from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost_worker import meter
from milepost_worker.attempt import GRACE_S, Attempt, StopReason
from milepost_worker.meter import Lost
from milepost_worker.running import Running

log = get_logger("milepost.worker.leases")

WATCH_EVERY_S = 0.25


class Leases:
    """A worker whose leases cannot be renewed stops its handlers before anybody takes over."""

    def __init__(self, settings: Settings, running: Running) -> None:
        self._lease = settings.lease
        self._running = running

    def fenced(self, attempts: list[Attempt]) -> None:
        """Stop attempts that Postgres did not find under their epoch, at once: their successors may be at work."""
        for attempt in attempts:
            if not attempt.settling:
                log.warning("the task belongs to somebody else now; stopping its handler", task=str(attempt.id))
                meter.lost(Lost.FENCED)
                attempt.lease_until = min(attempt.lease_until, time.monotonic())
                attempt.stop(StopReason.LEASE_LOST)

    def absent(self, attempts: list[Attempt]) -> None:
        """Stop attempts of a worker that others may find absent: it lost its connection and gets no other."""
        for attempt in attempts:
            if not attempt.settling and attempt.reason is None:
                log.warning(
                    "the connection to Postgres was lost and there is no other; stopping the handler before the task"
                    " is taken back",
                    task=str(attempt.id),
                )
                meter.lost(Lost.ABSENT)
                attempt.stop(StopReason.LEASE_LOST)

    def cancelled(self, attempts: list[Attempt]) -> None:
        """Stop attempts that somebody asked to stop."""
        for attempt in attempts:
            attempt.stop(StopReason.CANCELLED)

    async def watch(self) -> None:
        """Stop handlers whose lease nears its end, whatever holds up the renewal; until cancelled."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            self._let_go()

    def _let_go(self) -> None:
        # Early enough that a handler that has to be ended is gone before somebody else may start the task.
        now = time.monotonic() + min(GRACE_S, self._lease / 3)
        for attempt in self._running:
            if now >= attempt.lease_until and not attempt.settling and attempt.reason is None:
                log.warning(
                    "the lease is about to run out and could not be renewed; stopping the handler", task=str(attempt.id)
                )
                meter.lost(Lost.EXPIRED)
                attempt.stop(StopReason.LEASE_LOST)
