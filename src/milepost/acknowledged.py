"""Forgetting completions that Kafka has: their outbox rows go, many at once, a moment later."""

import asyncio
from typing import Final

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.store.records import Held
from milepost.store.store import Store

log = get_logger("milepost.acknowledged")

GATHER_S: Final = 0.1
BATCH: Final = 1000


class Acknowledged:
    """Gathers what was acknowledged; what it does not get to delete, the sweep of the outbox publishes once more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: list[Held] = []
        self._some = asyncio.Event()

    def __call__(self, held: Held) -> None:
        """Take a completion that Kafka has. Never waits."""
        self._held.append(held)
        if len(self._held) == 1:
            self._some.set()

    async def run(self) -> None:
        """Delete until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER_S)
            await self.drain()

    async def drain(self) -> None:
        """Delete what is there now; what Postgres does not take is left to the sweep."""
        self._some.clear()
        held, self._held = self._held, []
        for start in range(0, len(held), BATCH):
            try:
                await self._store.delete_outbox(held[start : start + BATCH])
            except Unavailable as error:
                log.info("outbox rows stay; their completions will be published once more", error=str(error))
                return  # the others would wait as long for the same answer
