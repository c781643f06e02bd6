"""Statements about queues as people see them, and about why a task does not run."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from milepost.domain.limits import Limit, Name, Scope
from milepost.store.limits import Limited, limit_of
from milepost.store.store import LIVE_S, columns_of

HOLDERS: Final = 10


class Queues(Limited):
    """The store's statements, and those that show queues, limits and the reasons for waiting."""

    async def queues(self, tenant: str, most: int) -> list[Any]:
        """Return the queues a tenant sees, by name; `depth` is counted up to `most`."""
        return await self._fetch("queues", tenant, LIVE_S, most)

    async def measure(self, own: str, most: int) -> list[Any]:
        """Return what metrics say of all tenants' tasks, see measure.sql; of nothing more than `most` is counted."""
        return await self._fetch("measure", own, most, LIVE_S)

    async def limit_rows(self, tenant: str) -> list[tuple[Limit, Any]]:
        """Return each limit a tenant's tasks stand under, with its row."""
        return [(limit_of(row), row) for row in await self._fetch("limits_of", tenant)]

    async def explain(self, tenant: str, task: UUID, most: int) -> Any | None:
        """Return what is known of a task's place, `ahead` counted up to `most`; None: no such task."""
        rows = await self._fetch("explain", tenant, task, LIVE_S, most)
        return rows[0] if rows else None

    async def ahead(self, names: Sequence[Name]) -> dict[Name, float]:
        """Return by how many seconds the next start under each rate would come before its time."""
        rows = await self._fetch("paces", *columns_of(names))
        return {Name(row["owner"], Scope(row["scope"]), row["name"]): row["ahead"] for row in rows}

    async def holders(self, tenant: str, name: Name) -> list[UUID]:
        """Return some of a tenant's running tasks that count for a limit, longest running first."""
        which = {Scope.QUEUE: 0, Scope.TYPE: 1, Scope.KEY: 2}.get(name.scope)
        words = [name.name if place == which else None for place in range(3)]
        return [row["id"] for row in await self._fetch("holders", tenant, *words, HOLDERS)]
