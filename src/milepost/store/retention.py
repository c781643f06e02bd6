"""Statements about how long finished tasks are kept, and those that delete them."""

import math
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from milepost.runtime.settings import Settings
from milepost.store.connection import Connection
from milepost.store.store import Store, sql

QUEUES_MOST: Final = 1_000
"""Queues with a retention of their own."""
PAUSE: Final = 9.0
"""Between two batches, as a multiple of what the one before took: deleting takes a tenth of one connection."""
PAUSE_AT_LEAST_S: Final = 0.05
"""From the beginning of one to that of the next, whatever the rate."""
ROUND_EVERY_S: Final = 60.0
"""Between the end of a round through all queues and the next."""


class Keep(NamedTuple):
    """For how many seconds after their end tasks are kept; `inf`: for ever."""

    finished_s: float
    failed_s: float

    @classmethod
    def of(cls, settings: Settings) -> "Keep":
        """Return what holds for queues without numbers of their own."""
        return cls(_or_ever(settings.retention), _or_ever(settings.retention_failed))

    def over(self, row: Any | None) -> "Keep":
        """Return what holds for a queue with such a row of its own; None: it has none."""
        if row is None:
            return self
        finished, failed = row["finished_s"], row["failed_s"]
        return Keep(self.finished_s if finished is None else finished, self.failed_s if failed is None else failed)


class Batch(NamedTuple):
    """What one batch came to: tasks it looked at, those it deleted, and whether a round through all queues is over."""

    seen: int
    deleted: int
    over: bool


class Retention(Store):
    """The store's statements, and those about old tasks."""

    async def retention(self) -> dict[str, Any]:
        """Return the row of each queue that has numbers of its own."""
        return {row["queue"]: row for row in await self._fetch("retention_get")}

    async def set_retention(self, queue: str, finished_s: float | None, failed_s: float | None) -> Any | None:
        """Say for how long finished tasks of a queue are kept, whosever they are; None: as the settings say.

        Return the row; None if QUEUES_MOST others have numbers of their own already.
        """
        rows = await self._fetch("retention_set", queue, finished_s, failed_s, QUEUES_MOST)
        return rows[0] if rows else None

    async def next_forgetting(self) -> float:
        """Return seconds until `forget` may have something to do; not positive: now."""
        rows = await self._fetch("retention_wait")
        seconds: float = rows[0][0]
        return seconds

    async def forget(self, keep: Keep, limit: int, rate: float) -> Batch | None:
        """Delete some of the tasks that are older than they are kept; None if that is not ours to do now.

        Who is at it holds a row that others pass over, so there is one batch at a time, by whatever process, and the
        pause after it is for all: it is as long as `rate` tasks a second ask for, and longer where Postgres is slow. Of
        `limit` tasks that are looked at those stay that are still needed.
        """
        async with self._transaction() as connection:
            # What a crash loses of it is done again, so nobody has to wait for the disk.
            await connection.execute("set local synchronous_commit = off")
            turn = await connection.fetchrow(sql("retention_turn"))
            if turn is None:
                return None
            place = _Place(*turn.values())
            if place.queue is None:
                place = await _line_after(connection, place)
            seen = deleted = 0
            if place.queue is not None:
                kept_s = keep.failed_s if place.failed else keep.finished_s
                [found] = await connection.fetch(
                    sql("retention_delete"), place.queue, place.failed, place.finished_at, place.id, kept_s, limit
                )
                seen, deleted, finished_at, task = found.values()
                if seen == limit:
                    place = place._replace(finished_at=finished_at, id=task)
                else:
                    place = await _line_after(connection, place)
            over = place.queue is None
            least_s = ROUND_EVERY_S if over else max(PAUSE_AT_LEAST_S, deleted / rate) if seen else 0.0
            await connection.execute(sql("retention_advance"), *place, deleted, PAUSE, least_s)
            return Batch(seen, deleted, over)


class _Place(NamedTuple):
    """Where the pass has got to: at the tasks of a queue that failed or not, behind an end. No queue: a new round."""

    failed: bool = False
    queue: str | None = None
    finished_at: datetime | None = None
    id: UUID | None = None


async def _line_after(connection: Connection, place: _Place) -> _Place:
    """Return the beginning of the next line; that of a new round, if it was the last."""
    row = await connection.fetchrow(sql("retention_line"), place.failed, place.queue)
    return _Place() if row is None else _Place(*row.values())


def _or_ever(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
