"""`Prefer: wait`: watching rows until they are finished, all waiters in one statement."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from milepost.errors import Unavailable
from milepost_schemas.task import TaskState

TICK_S: Final = 0.05
"""Waiters look at multiples of this, so that those who wait at the same time share a statement."""
_SLOWEST_S: Final = 1.0
_SLOWER: Final = 1.4


class Waits:
    """Everybody who waits for a task to end."""

    def __init__(self, read: Callable[[tuple[str, UUID]], Awaitable[Any | None]]) -> None:
        self._read = read
        self._over = asyncio.Event()

    def end(self) -> None:
        """Let all waiters go: the process is stopping."""
        self._over.set()

    async def finished(self, tenant: str, task: UUID, seconds: float) -> Any | None:
        """Return the row once the task is over; None if that takes longer than `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        pause = TICK_S
        while not self._over.is_set():
            look = min(math.ceil((loop.time() + pause) / TICK_S) * TICK_S, end)
            try:
                async with asyncio.timeout_at(look):
                    await self._over.wait()
            except TimeoutError:
                pass
            row = await self._look(tenant, task)
            if row is not None and TaskState(row["state"]).terminal:
                return row
            if loop.time() >= end:
                break
            pause = min(pause * _SLOWER, _SLOWEST_S)
        return None

    async def _look(self, tenant: str, task: UUID) -> Any | None:
        try:
            return await self._read((tenant, task))
        except Unavailable:
            return None  # the task is accepted: the answer must not become a 503
