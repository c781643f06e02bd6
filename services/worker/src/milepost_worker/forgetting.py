"""Deleting finished tasks that are older than they are kept: a batch at a time, by any worker, no leader."""

import asyncio
import random
from typing import Final

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost.store.retention import Keep, Retention

log = get_logger("milepost.worker.forgetting")

BATCH: Final = 200
"""At most: what a submission's commit would wait for has to be small."""
BATCHES_A_SECOND: Final = 10.0
"""What is deleted is spread over a second, where the rate is one that needs no larger batches."""
BATCH_AT_LEAST: Final = 20
"""Where Postgres is so slow that it gave up on more."""
OTHERS_S: Final = (1.0, 3.0)
"""Who did not have the last turn asks again after so long: from, to."""
AT_MOST_S: Final = 60.0
_TOLD_AT: Final = 100_000


class Forgetting:
    """The pass that deletes old tasks."""

    def __init__(self, store: Retention, settings: Settings) -> None:
        self._store = store
        self._keep = Keep.of(settings)
        self._rate = settings.retention_rate
        self._most = int(min(BATCH, max(BATCH_AT_LEAST, self._rate / BATCHES_A_SECOND)))
        self._limit = self._most
        self._deleted = 0
        """Not logged yet."""

    async def run(self) -> None:
        """Delete what is old, until cancelled. Raises Unavailable, after which a smaller batch is tried."""
        mine = False
        while True:
            wait_s = await self._store.next_forgetting()
            if wait_s <= 0:
                mine = await self._forget()
                if mine:
                    continue
            # Who was at it goes on as soon as it may; for the others to look as often would be for nothing.
            pause_s = wait_s if mine else max(wait_s, random.uniform(*OTHERS_S))  # noqa: S311 - spread, not secrecy
            await asyncio.sleep(min(pause_s, AT_MOST_S))

    async def _forget(self) -> bool:
        """Delete a batch; return whether it was ours to do."""
        try:
            batch = await self._store.forget(self._keep, self._limit, self._rate)
        except Unavailable:
            self._limit = max(BATCH_AT_LEAST, self._limit // 2)
            raise
        if batch is None:
            return False
        self._limit = min(self._most, self._limit * 2)
        self._deleted += batch.deleted
        if self._deleted and (batch.over or self._deleted >= _TOLD_AT):
            log.info("deleted tasks that ended long ago", tasks=self._deleted)
            self._deleted = 0
        return True
