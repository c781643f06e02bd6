"""What Postgres knows of queues, leases, the outbox and webhooks: asked when somebody reads metrics, and not often."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics import catalogue
from milepost.runtime.metrics.bounded import OPEN
from milepost.store.records import PRIORITY_NAMES

log = get_logger("milepost.api.measured")

COUNTED_MOST: Final = 10_000
LOOK_S: Final = 3.0
"""However many read, and however often: the answer of one look is shown for so long."""
PATIENCE_S: Final = 0.5
"""Who reads metrics waits no longer for a Postgres that is slow: with it all the others would be gone that say so."""
PART: Final = 20
"""Looking takes one part of so many of the time at most: where very much waits it is done less often."""
_TOTALS: Final = {
    "lease": (None, catalogue.LEASE_OLDEST),
    "due": (None, catalogue.DUE_OLDEST),
    "outbox": (catalogue.OUTBOX_ROWS, catalogue.OUTBOX_OLDEST),
    "deliveries": (catalogue.WEBHOOK_WAITING, catalogue.WEBHOOK_OLDEST),
    "failing": (catalogue.WEBHOOKS_FAILING, None),
}
_BY_QUEUE: Final = {"running": catalogue.QUEUE_RUNNING, "workers": catalogue.QUEUE_WORKERS}

Ask = Callable[[int], Awaitable[list[Any]]]
"""(rows to count at most) → rows of measure.sql"""


class Measured:
    """Sets the gauges of what is in Postgres; while it is away there are none, for old numbers would be lies."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._looking: asyncio.Task[None] | None = None
        self._next_at = 0.0

    async def look(self) -> None:
        """Bring the gauges up to date, unless they are new enough.

        Takes `PATIENCE_S` at most: who comes while Postgres is still asked is shown what it said before.
        """
        if self._looking is None or self._looking.done():
            if asyncio.get_running_loop().time() < self._next_at:
                return
            self._looking = asyncio.create_task(self._look())
        await asyncio.wait([self._looking], timeout=PATIENCE_S)
        if self._looking.done():
            self._looking.result()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        rest = PART - 1
        try:
            show(await self._ask(COUNTED_MOST))
        except Unavailable as error:
            log.warning("Postgres was not measured", error=str(error))
            forget()
            rest = 1  # or there would be no numbers for minutes after it is back
        self._next_at = loop.time() + max(LOOK_S, (loop.time() - began) * rest)


def show(rows: Iterable[Any]) -> None:
    """Set the gauges by rows of measure.sql."""
    depths: dict[tuple[str, ...], float] = {}
    oldest: dict[tuple[str, ...], float] = {}
    queues: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _BY_QUEUE}
    for row in rows:
        what, number, seconds = row["what"], row["number"], row["seconds"]
        if what in queues:
            queues[what][(row["queue"],)] = number
        elif what in _TOTALS:
            count, age = _TOTALS[what]
            if count is not None:
                count.set(number)
            if age is not None:
                age.set(max(0.0, seconds or 0.0))
        else:
            place = (row["queue"], PRIORITY_NAMES[row["priority"]].value, "own" if row["own"] else "other")
            oldest[place] = max(seconds, oldest.get(place, 0.0))
            depths[place] = max(number or 1.0, depths.get(place, 0.0))
    OPEN["queue"].reserve(queue for (queue,) in queues["workers"])
    catalogue.QUEUE_DEPTH.replace(depths)
    catalogue.QUEUE_OLDEST.replace(oldest)
    for name, gauge in _BY_QUEUE.items():
        gauge.replace(queues[name])


def forget() -> None:
    """Say nothing of Postgres."""
    gauges = [gauge for pair in _TOTALS.values() for gauge in pair if gauge is not None]
    for gauge in (catalogue.QUEUE_DEPTH, catalogue.QUEUE_OLDEST, *_BY_QUEUE.values(), *gauges):
        gauge.forget()
