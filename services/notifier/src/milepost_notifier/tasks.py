"""The port through which the relay reads the owner of all tasks."""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from milepost.store import Child
from milepost_schemas.position import Position


class TaskSource(Protocol):
    """Postgres, as far as the relay needs it. `milepost.store.Store` is one."""

    async def task_views(self, pairs: Sequence[tuple[str, UUID]]) -> list[tuple[dict[str, Any], Position]]:
        """Return those of the (tenant, task) pairs that exist: members of the task, and the position Postgres knows.

        Raises Unavailable when Postgres does not answer in a few seconds.
        """
        ...

    async def children(self, pairs: Sequence[tuple[str, UUID]], limit: int) -> list[Child]:
        """Return the children of the (tenant, task) pairs, of each `limit` at most, those that are not over first.

        Raises Unavailable as above.
        """
        ...

    async def descendants_among(self, tenant: str, pairs: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """Return those of the (task, ancestor) pairs of a tenant in which the second is above the first.

        Raises Unavailable as above.
        """
        ...
