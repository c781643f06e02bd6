"""Keeping what is ours, and letting go in time of what is not."""

import asyncio

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost.store import Held, Store
from milepost_worker.attempt import GRACE_S, Attempt, StopReason
from milepost_worker.running import Running

log = get_logger("milepost.worker.leases")

WATCH_EVERY_S = 0.25


class Leases:
    """Renews all leases in one statement; a worker that cannot, stops its handlers before anybody takes over."""

    def __init__(self, settings: Settings, store: Store, running: Running) -> None:
        self._lease = settings.lease
        self._every = settings.renew
        self._store = store
        self._running = running

    async def renew(self) -> None:
        """Renew until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._every
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = loop.time() + self._every
            try:
                await self._renew_once()
            except Unavailable as error:
                log.warning("leases could not be renewed", error=str(error), tasks=len(self._running))
                due = loop.time() + min(1.0, self._every)

    async def watch(self) -> None:
        """Stop handlers whose lease nears its end, whatever holds up the renewal; until cancelled."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            self._let_go()

    async def _renew_once(self) -> None:
        attempts = [attempt for attempt in self._running if not attempt.settling]
        if not attempts:
            return
        # From before the statement: the database's lease starts later than this, so it surely ends later too.
        until = asyncio.get_running_loop().time() + self._lease
        kept = {row.held: row.cancel for row in await self._store.renew(self._lease, [_row(a) for a in attempts])}
        for attempt in attempts:
            cancel = kept.get(attempt.held)
            if cancel is None:
                if not attempt.settling:
                    log.warning("the task belongs to somebody else now; stopping its handler", task=str(attempt.id))
                    attempt.stop(StopReason.LEASE_LOST)
                continue
            attempt.lease_until = until
            if cancel:
                attempt.stop(StopReason.CANCELLED)

    def _let_go(self) -> None:
        # Early enough that a handler that has to be ended is gone before somebody else may start the task.
        now = asyncio.get_running_loop().time() + min(GRACE_S, self._lease / 3)
        for attempt in self._running:
            if now >= attempt.lease_until and not attempt.settling:
                log.warning(
                    "the lease is about to run out and could not be renewed; stopping the handler", task=str(attempt.id)
                )
                attempt.stop(StopReason.LEASE_LOST)


def _row(attempt: Attempt) -> tuple[Held, int, str | None]:
    return attempt.held, attempt.trail.sent, attempt.trail.progress_json
