"""Cancelling what is below a cancelled task, in batches, whoever dies meanwhile."""

import asyncio
from typing import Any, Final
from uuid import UUID

from milepost.announce import Announcer
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.transitions import row_moved
from milepost.store.cancellations import Cancellations
from milepost_api import meter
from milepost_schemas import TaskState

log = get_logger("milepost.api.trees")

BATCH: Final = 500
"""Children in one statement."""
_PARENTS: Final = 100
_AT_ONCE_S: Final = 2.0
"""A request works on a tree for so long; the rest is done without it."""
_HOLD_S: Final = 60.0
_EVERY_S: Final = 2.0
_BEGIN: Final = UUID(int=0)


class Trees:
    """Ends descendants that nobody runs, asks the workers of the others, and looks again until all are over.

    A running task may have more children before it stops: so a tree is looked through until nothing in it is open.
    """

    def __init__(self, store: Cancellations, announcer: Announcer) -> None:
        self._store = store
        self._announcer = announcer

    async def at_once(self, tenant: str, root: UUID) -> None:
        """See to a tree that was just cancelled, as far as that goes while somebody waits for an answer."""
        await self._see_to(tenant, root, asyncio.get_running_loop().time() + _AT_ONCE_S)

    async def run(self) -> None:
        """See to trees that are not done, until cancelled."""
        while True:
            taken = await self._store.take_cancellations(10, _HOLD_S)
            for root, tenant in taken:
                await self._see_to(tenant, root, asyncio.get_running_loop().time() + _HOLD_S / 2)
            if not taken:
                await asyncio.sleep(jittered(1, base=_EVERY_S, cap=_EVERY_S * 1.5))

    async def _see_to(self, tenant: str, root: UUID, until: float) -> None:
        # Before its children are: what ended before has no more of them.
        row = await self._store.get(tenant, root)
        over = row is None or TaskState(row["state"]).terminal
        if row is not None and not over and row["cancel_requested_at"] is None:
            await self._store.cancellation_void(root)
            return
        still_open = await self._cancel_below(tenant, root, until)
        if over and still_open == 0:
            await self._store.cancellation_done(root)
        else:
            await self._store.cancellation_waits(root)

    async def _cancel_below(self, tenant: str, root: UUID, until: float) -> int:
        """Cancel all descendants; return how many are still open, as far as was seen by loop time `until`."""
        loop = asyncio.get_running_loop()
        left: list[tuple[UUID, UUID]] = [(root, _BEGIN)]
        still_open = 0
        while left:
            if loop.time() > until:
                return still_open + len(left)
            parents = left[-_PARENTS:]
            del left[-_PARENTS:]
            rows = await self._store.cancel_children(tenant, parents, BATCH)
            if len(rows) == BATCH:
                last = dict(parents)
                for row in rows:
                    last[row["parent"]] = max(last[row["parent"]], row["child"])
                left += last.items()
            left += [(row["child"], _BEGIN) for row in rows]
            for row in rows:
                still_open += await self._told(tenant, row)
        return still_open

    async def _told(self, tenant: str, row: Any) -> bool:
        """Tell the world what became of a child; return whether it is still open."""
        match row["found"]:
            case "ended":
                meter.ended(row["queue"], row["state"])
                row_moved("cancel", row, row["moved_from"])
                self._announcer.ended(row)
            case "asked":
                self._announcer.cancel_request(row["child"], tenant, row["asked_traceparent"])
                return True
            case "locked":
                return await self._cancel_alone(tenant, row["child"])
        return False

    async def _cancel_alone(self, tenant: str, task: UUID) -> bool:
        """Cancel a task somebody was just writing to: wait for that, holding nothing else."""
        outcome = await self._store.cancel(tenant, task)
        if outcome is None:
            return False
        if outcome.moved:
            meter.ended(outcome.row["queue"], outcome.row["state"])
            row_moved("cancel", outcome.row, outcome.row["moved_from"])
            self._announcer.ended(outcome.row)
        elif not TaskState(outcome.row["state"]).terminal:
            self._announcer.cancel_request(task, tenant, outcome.row["traceparent"])
            return True
        return False
