"""Tasks that Postgres gave us and we never heard of: the answer to a claim was lost on its way."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.store import GivenUp, Held, Store
from milepost_schemas import TaskError
from milepost_worker.outcome import error_json
from milepost_worker.running import Running

log = get_logger("milepost.worker.strays")

AGAIN_AFTER_S = 7.0
"""A claim whose answer was lost may still run in Postgres: for its statement_timeout, and a little for the way."""
BETWEEN_TRIES_S = 0.5


class Strays:
    """Gives such tasks back without counting the attempt, seconds after the claim instead of a lease later.

    It looks only after a claim failed: at once, and when the claim is surely over. In usual times it costs nothing.
    """

    def __init__(
        self, store: Store, worker: UUID, running: Running, claims_over: Callable[[], Awaitable[None]]
    ) -> None:
        """`claims_over` waits until the claims that are under way when it is called have their answers."""
        self._store = store
        self._worker = worker
        self._running = running
        self._claims_over = claims_over
        self._suspected = asyncio.Event()

    def suspect(self) -> None:
        """Say that a claim failed and nobody knows whether it was committed."""
        self._suspected.set()

    async def look(self) -> None:
        """Look whenever there is a suspicion, until cancelled."""
        while True:
            await self._suspected.wait()
            self._suspected.clear()
            await self._give_back()
            await asyncio.sleep(AGAIN_AFTER_S)
            await self._give_back()

    async def _give_back(self) -> None:
        while True:
            try:
                await self.give_back_once()
            except Unavailable:
                await asyncio.sleep(BETWEEN_TRIES_S)
            else:
                return

    async def give_back_once(self) -> int:
        """Give back what runs under our id and is unknown here; return how many. Raises Unavailable."""
        held = await self._store.held_by(self._worker)
        if not held:
            return 0
        # What was committed before we asked is known by now, lost, or in an answer still on its way.
        await self._claims_over()
        strays = [each for each in held if not self._running.knew(each)]
        left = await self._leave(strays, "The answer to the claim was lost; nothing was started.")
        if left:
            log.warning("gave back tasks whose claim was committed, but not answered", tasks=left)
        return left

    async def give_back_all(self) -> int:
        """Give back everything that still runs under our id, known or not: the process ends. Raises Unavailable."""
        held = await self._store.held_by(self._worker)
        return await self._leave(held, "The worker was stopped before the task ended.")

    async def _leave(self, tasks: list[Held], message: str) -> int:
        if not tasks:
            return 0
        why = error_json(TaskError(type="Released", message=message, retryable=True))
        return len(await self._store.abandon([GivenUp(each, why, counts=False) for each in tasks]))
