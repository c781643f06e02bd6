"""Statements about limits: what people set, and claims that keep to it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from milepost.domain.limits import (
    Limit,
    Limits,
    Name,
    Rate,
    Running,
    Scope,
    crosses_tenants,
    grant,
    rates_used,
)
from milepost.domain.turns import Group, Share
from milepost.store.connection import Connection
from milepost.store.records import Claimed
from milepost.store.store import claimed_row, columns_of, sql
from milepost.store.waiting import Waiting

LIMITS_MOST: Final = 1_000
"""Limits and pauses an owner may have: each process keeps all of them in memory."""


class Within(NamedTuple):
    """What was claimed under limits, and which limit held back each group that got less than its share.

    None in its place: somebody else claims under the same limit right now.
    """

    claimed: list[Claimed]
    held: dict[Group, Limit | None]


class Limited(Waiting):
    """The store's statements, and those about limits."""

    async def limits_version(self) -> UUID:
        """Return what is another value once limits have changed."""
        [row] = await self._fetch("limits_version")
        version: UUID = row["version"]
        return version

    async def limits(self) -> Limits:
        """Return all limits, of all tenants."""
        return Limits(limit_of(row) for row in await self._fetch("limits"))

    async def set_limit(self, name: Name, concurrency: int | None, rate: Rate | None) -> Any | None:
        """Bound what shares a limit; None: no bound. A pause stays as it is.

        Return the row; None if the owner has LIMITS_MOST already.
        """
        count, period = (None, None) if rate is None else rate
        rows = await self._fetch("limit_set", *name, concurrency, count, period, LIMITS_MOST)
        return rows[0] if rows else None

    async def pause(self, owner: str, queue: str, *, paused: bool) -> Any | None:
        """Pause an owner's tasks in a queue, or let them go on. Return the row; None: there are LIMITS_MOST already."""
        rows = await self._fetch("queue_pause", owner, queue, paused, LIMITS_MOST)
        return rows[0] if rows else None

    async def running(self, tenants: Sequence[str] | None) -> Mapping[Running, int]:
        """Return how many tasks of some tenants run (None: of all), by queue, type and key."""
        return _counted(await self._fetch(*_running_of(tenants)))

    async def take_within(
        self, worker: UUID, lease_s: float, shares: Sequence[Share], older_than_s: float, limits: Limits
    ) -> Within:
        """Claim as much of the shares as their limits have room for: counted and claimed under one lock for each limit.

        Two that claim under one limit cannot both take its last place, and a crash of either leaves nothing taken.
        Raises Unavailable.
        """
        async with self._transaction() as connection:
            return await self._within(connection, worker, lease_s, shares, older_than_s, limits)

    @staticmethod
    async def _within(
        connection: Connection,
        worker: UUID,
        lease_s: float,
        shares: Sequence[Share],
        older_than_s: float,
        limits: Limits,
    ) -> Within:
        names = sorted({limit.name for share in shares for limit in limits.of(share.group)})
        # A statement sees what was committed when it began, so the lock has to be a statement of its own before it.
        if not await connection.fetchval(sql("limit_lock"), sorted({_lock(name) for name in names})):
            return Within([], dict.fromkeys(share.group for share in shares))
        tenants = None if any(map(crosses_tenants, names)) else sorted({share.group.tenant for share in shares})
        statement, *of = _running_of(tenants)
        running = _counted(await connection.fetch(sql(statement), *of))
        rows = await connection.fetch(sql("paces"), *columns_of(names))
        ahead = {Name(row["owner"], Scope(row["scope"]), row["name"]): row["ahead"] for row in rows}
        granted, held = grant(shares, limits, running, ahead)
        if not granted:
            return Within([], dict(held))
        groups = columns_of((*group, count) for group, count in granted)
        rows = await connection.fetch(sql("take"), *groups, worker, lease_s, older_than_s)
        claimed = [claimed_row(row) for row in rows]
        used = rates_used(Counter(group_of(task) for task in claimed), limits)
        if used:
            await connection.execute(sql("pace"), *columns_of((*name, seconds) for name, seconds in used.items()))
        return Within(claimed, dict(held))


def group_of(task: Claimed) -> Group:
    """Return the group a task was taken from."""
    return Group(task.queue, task.tenant, task.priority, task.type, task.key or "")


def limit_of(row: Any) -> Limit:
    """Return the limit in a row."""
    rate = None if row["rate_count"] is None else Rate(row["rate_count"], row["rate_period_s"])
    name = Name(row["owner"], Scope(row["scope"]), row["name"])
    return Limit(name, row["paused_at"] is not None, row["concurrency"], rate)


def _running_of(tenants: Sequence[str] | None) -> tuple[Any, ...]:
    """Return the statement that counts what runs of some tenants (None: of all), and its arguments."""
    # Plans do not depend on what is asked (decision 4): one statement for both would read what runs of all.
    return ("running_of_all",) if tenants is None else ("running", tenants)


def _counted(rows: Iterable[Any]) -> Mapping[Running, int]:
    return {Running(row["tenant"], row["queue"], row["type"], row["key"]): row["running"] for row in rows}


def _lock(name: Name) -> int:
    """Return the key of a limit's lock, the same in every process."""
    digest = hashlib.blake2b("\0".join(("milepost", *name)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
