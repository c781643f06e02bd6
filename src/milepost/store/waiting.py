"""Statements about whose tasks wait, and whose turn it is."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from milepost.domain.turns import Group, Share
from milepost.domain.window import FLOOR, TIMES, Room
from milepost.store.records import Claimed
from milepost.store.store import LIVE_S, Store, claimed_row, columns_of


class Seen(NamedTuple):
    """A group that has tasks waiting. `known`: its type is one of those asked for."""

    group: Group
    age_s: float
    """Of its oldest."""
    known: bool
    place: int
    """Of its tenant among those seen, from 1."""
    last: bool
    """Whether it is the last that may be seen of its tenant and priority: there may be others behind it."""


class Waiting(Store):
    """The store's statements, and those about who waits."""

    async def waiting(
        self,
        after: Mapping[str, str | None],
        types: Sequence[str],
        tenants: int,
        groups: int,
        in_all: int,
        behind: Sequence[Group] = (),
    ) -> list[Seen]:
        """Return groups with queued tasks: of each queue `tenants` tenants at most, the next ones after the one named.

        Of a tenant and priority `groups` at most, the next ones behind the one named in `behind`; but two at least,
        and else no more than `in_all` of all together.
        """
        names = columns_of((each.queue, each.tenant, each.priority, each.type, each.key) for each in behind)
        rows = await self._fetch(
            "waiting", list(after), list(after.values()), tenants, list(types), groups, *(names or [None] * 5), in_all
        )
        return [
            Seen(
                Group(row["queue"], row["tenant"], row["priority"], row["type"], row["key"]),
                row["age"],
                row["known"],
                row["place"],
                row["last"],
            )
            for row in rows
        ]

    async def take(
        self, worker: UUID, lease_s: float, shares: Sequence[Share], older_than_s: float = 0.0
    ) -> list[Claimed]:
        """Claim of each group as many tasks as its share, oldest first, that have been queued for so long."""
        if not shares:
            return []
        groups = columns_of((*group, count) for group, count in shares)
        return [claimed_row(row) for row in await self._fetch("take", *groups, worker, lease_s, older_than_s)]

    async def room(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Room]:
        """Return for each (tenant, queue) how many tasks wait, counted up to the window, and the slots there are."""
        rows = await self._fetch("room", *columns_of(pairs), FLOOR, TIMES, LIVE_S)
        return {(row["tenant"], row["queue"]): Room(row["queued"], row["slots"]) for row in rows}
