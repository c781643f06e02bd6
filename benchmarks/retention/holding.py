"""The workers' pass over old tasks, held back and let go from outside."""

import asyncio
import contextlib
from typing import Any, Self

import asyncpg

_PUT_OFF = "update milepost.retention_pass set next_at = now() + interval '3 seconds'"
_PUT_OFF_EVERY_S = 1.0


class Pass:
    """It is put off again and again.

    A transaction that held its row would do too, but while it lives nothing that is dead can be cleaned up and no page
    be known to be all visible: turns alone would be slow, and a vacuum after them would write the whole table.
    """

    def __init__(self, holder: Any, reader: Any) -> None:
        self._holder = holder
        self._reader = reader
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def held(cls, database_url: str) -> Self:
        """Hold it."""
        made = cls(await asyncpg.connect(database_url), await asyncpg.connect(database_url))
        await made.hold()
        return made

    async def hold(self) -> None:
        """Keep workers from it."""
        await self._holder.execute(_PUT_OFF)
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_PUT_OFF_EVERY_S)
            await self._holder.execute(_PUT_OFF)

    async def go_on(self) -> None:
        """Let workers at it, and return when one is."""
        before = await self.deleted()
        await self._let_go()
        await self._holder.execute("update milepost.retention_pass set next_at = now()")
        async with asyncio.timeout(90.0):
            while True:
                await asyncio.sleep(0.05)
                if await self.deleted() != before:
                    return

    async def deleted(self) -> int:
        """Return how many tasks were deleted so far."""
        count: int = await self._reader.fetchval("select deleted from milepost.retention_pass")
        return count

    async def close(self) -> None:
        """Let go of it."""
        await self._let_go()
        await self._holder.close()
        await self._reader.close()

    async def _let_go(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
