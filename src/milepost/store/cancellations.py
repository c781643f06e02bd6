"""Statements about what a cancelled task leaves behind: its descendants."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from milepost.store.store import Store


class Cancellations(Store):
    """The store's statements, and those about trees of tasks that are being cancelled."""

    async def cancel_children(self, tenant: str, parents: Sequence[tuple[UUID, UUID]], limit: int) -> list[Any]:
        """Cancel the next children of tasks; each is named with the last child that was seen to before.

        Returns up to `limit` rows of children that were there, finished ones too: `parent`, `child` and `found`, what
        was done: `ended` (the row holds the task), `asked` (it runs), `over` before, `locked` (nothing was done: it is
        being written).
        """
        ids, after = [parent for parent, _ in parents], [last for _, last in parents]
        return await self._fetch("cancel_children", tenant, ids, after, limit)

    async def take_cancellations(self, limit: int, hold_s: float) -> list[tuple[UUID, str]]:
        """Return (task, tenant) of cancelled tasks to look below; nobody else gets them for `hold_s` seconds."""
        return [(row["task_id"], row["tenant"]) for row in await self._fetch("cancellations_take", limit, hold_s)]

    async def cancellation_waits(self, task: UUID) -> None:
        """Note that something below the task still runs, and that it is to be looked at again."""
        await self._fetch("cancellation_wait", task)

    async def cancellation_done(self, task: UUID) -> None:
        """Note that everything below the task is over."""
        await self._fetch("cancellation_done", task)

    async def cancellation_void(self, task: UUID) -> None:
        """Note that a task was replayed, so that what is below it may go on; nothing if it was cancelled again."""
        await self._fetch("cancellation_void", task)
