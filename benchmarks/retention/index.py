"""What the two indexes of ends cost those who end tasks: the statement that does, with and without them by turns."""

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat as uuids

from milepost.runtime.settings import Settings
from milepost.store import Finish, Held, NewTask, Store, open_pool
from milepost_schemas import Priority, TaskState

_WORKER: Final = UUID(int=0xBE)
_INDEXES: Final = {
    "tasks_ended": "(queue, finished_at, id) where state in ('succeeded', 'cancelled')",
    "tasks_failed_ended": "(queue, finished_at, id) where state = 'failed'",
}
BATCH: Final = 100
BATCHES: Final = 100
ROUNDS: Final = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds for ending 1,000 tasks, by turns; medians."""

    with_ms: list[float]
    without_ms: list[float]

    def text(self) -> str:
        """Return it for people."""
        there, gone = median(self.with_ms), median(self.without_ms)
        return (
            f"ending 1,000 tasks takes {there:.1f} ms with the indexes, {gone:.1f} without: {there / gone:.3f} times\n"
            f"  with    {', '.join(f'{each:.1f}' for each in self.with_ms)}\n"
            f"  without {', '.join(f'{each:.1f}' for each in self.without_ms)}"
        )


async def measure_index(database_url: str) -> Cost:
    """Measure it, in a queue that no worker serves."""
    pool = await open_pool(Settings.load(database_url=database_url), "bench")
    store = Store(pool)
    cost = Cost([], [])
    try:
        await _turn(store)  # so that nothing is done for the first time
        for _ in range(ROUNDS):
            for there, seen in ((True, cost.with_ms), (False, cost.without_ms)):
                await _indexes(pool, there=there)
                seen.append(round(await _turn(store), 2))
        await _indexes(pool, there=True)
    finally:
        await pool.close()
    return cost


async def _turn(store: Store) -> float:
    loop = asyncio.get_running_loop()
    spent = 0.0
    for _ in range(BATCHES):
        new = [
            NewTask(uuids.uuid7(), "default", "bench.end", "bench-ends", Priority.NORMAL, 3, "{}") for _ in range(BATCH)
        ]
        await store.submit(new)
        claimed = await store.claim(_WORKER, 60.0, [Held(each.id, 0) for each in new])
        ends = [Finish(each.held, 1, TaskState.SUCCEEDED, result='{"n": 1}') for each in claimed]
        began = loop.time()
        await store.finish(ends)
        spent += loop.time() - began
        await store.delete_outbox([each.held for each in ends])
    return spent / (BATCHES * BATCH) * 1_000_000


async def _indexes(pool: Any, *, there: bool) -> None:
    for name, what in _INDEXES.items():
        if there:
            await pool.execute(f"create index if not exists {name} on milepost.tasks {what}")
        else:
            await pool.execute(f"drop index if exists milepost.{name}")
