"""Statements about tasks that failed for good, and about having them run again."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from milepost.store.store import Store
from milepost_schemas.task import TaskState

COUNTED = 10_000
"""Members of a group are counted so far."""
RECORDS_KEPT = 10_000
"""Older records nobody could read are dropped; the topic of dead letters has them for 30 days."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Which failed tasks of a tenant to replay; None means any. `ids` excludes the others."""

    ids: list[UUID] | None = None
    fingerprint: str | None = None
    type: str | None = None
    queue: str | None = None
    failed_from: datetime | None = None
    failed_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record nobody could read. `task` and `tenant` are what it says of itself, None if it says nothing.

    `headers` is JSON: pairs of name and base64. `size` is that of the whole value, of which `cut` says that only the
    beginning is here.
    """

    id: UUID
    tenant: str | None
    task: UUID | None
    topic: str
    partition: int
    offset: int
    error: str
    fingerprint: str
    key: bytes | None
    value: bytes | None
    size: int
    headers: str
    put_aside_at: datetime
    cut: bool

    def columns(self) -> tuple[Any, ...]:
        """Return the members in their order."""
        return astuple(self)


class DeadLetters(Store):
    """The store's statements, and those about what failed."""

    async def failed_groups(self, tenant: str, after: str, limit: int, type_: str | None = None) -> list[Any]:
        """Return groups of failed tasks by fingerprint, those after `after`; at most COUNTED members are counted."""
        return await self._fetch("failed_groups", tenant, after, limit, type_, COUNTED)

    async def failed_members(self, tenant: str, fingerprint: str, before: UUID | None, limit: int) -> list[Any]:
        """Return failed tasks of a group, the newest first, those older than `before`."""
        return await self._fetch("failed_members", tenant, fingerprint, before, limit)

    async def failed_task(self, tenant: str, task: UUID) -> dict[str, Any] | None:
        """Return the row of a failed task, `fingerprint` being that of its failure; None if there is none."""
        rows = await self._fetch("failed_task", tenant, task)
        if not rows:
            return None
        row = dict(rows[0])
        row["fingerprint"] = row.pop("fingerprint_of_failure")
        return row

    async def failed_ids(self, tenant: str, which: Failures, began: datetime, limit: int) -> list[UUID]:
        """Return ids of failed tasks that match and had failed before `began`; of `ids` all, else `limit` at most."""
        before = began if which.failed_before is None else min(began, which.failed_before)
        w = which
        if w.ids is not None:
            rows = await self._fetch("failed_among", tenant, w.ids, before)
        elif w.fingerprint is not None:
            rows = await self._fetch(
                "failed_of_group", tenant, w.fingerprint, w.type, w.queue, before, w.failed_from, limit
            )
        else:
            rows = await self._fetch("failed_matching", tenant, w.type, w.queue, before, w.failed_from, limit)
        return [row["id"] for row in rows]

    async def begin_replay(self, tenant: str, replay: UUID) -> datetime:
        """Return when this replay began: now, if nobody has heard of it."""
        rows = await self._fetch("replay_begin", tenant, replay)
        began: datetime = rows[0]["created_at"]
        return began

    async def forget_replay(self, tenant: str, replay: UUID) -> None:
        """Forget that a replay began: it moved nothing, and nobody was told its id."""
        await self._fetch("replay_forget", tenant, replay)

    async def replay(
        self,
        tenant: str,
        tasks: Sequence[UUID],
        replay: UUID,
        spacing_s: float = 0.0,
        states: Sequence[TaskState] = (TaskState.FAILED,),
        *,
        counted: bool = False,
    ) -> list[Any]:
        """Have finished tasks run again from the start; return the rows of those that will.

        Left out are those that are not (or no longer) in one of `states`. They become due `spacing_s` apart, after
        those the same replay scheduled before; with 0 all are queued at once. `counted`: the tenant has a quota of what
        waits, and they count from now on.
        """
        return await self._fetch("replay", tenant, list(tasks), list(states), spacing_s, replay, counted)

    async def payload_sizes(self, tenant: str, tasks: Sequence[UUID], states: Sequence[TaskState]) -> list[int]:
        """Return bytes of the payload of each of the tasks that is in one of `states`, in no order."""
        return [row["size"] for row in await self._fetch("payload_sizes", tenant, list(tasks), list(states))]

    async def attempts(self, tenant: str, task: UUID, limit: int) -> list[Any]:
        """Return runs of a task, the newest first; none for an unknown task."""
        return await self._fetch("attempts", tenant, task, limit)

    async def was_replayed(self, tenant: str, task: UUID) -> bool:
        """Whether the task was ever taken out of a terminal state."""
        rows = await self._fetch("was_replayed", tenant, task)
        found: bool = rows[0][0]
        return found

    # -- records nobody could read

    async def add_records(self, records: Sequence[DeadRecord]) -> tuple[int, int]:
        """Store records; return how many were new, and how many old ones had to make room."""
        columns = [list(column) for column in zip(*(r.columns() for r in records), strict=True)]
        *most, put_aside_at, cut = columns
        rows = await self._fetch("record_add", *most, RECORDS_KEPT, put_aside_at, cut)
        return rows[0]["added"], rows[0]["dropped"]

    async def record_groups(
        self, tenant: str, after: str, limit: int, topic: str | None, *, operator: bool
    ) -> list[Any]:
        """Return groups of records by fingerprint; only an operator sees what belongs to no tenant."""
        return await self._fetch("record_groups", tenant, operator, after, limit, topic)

    async def record_members(
        self, tenant: str, fingerprint: str, before: UUID | None, limit: int, *, operator: bool
    ) -> list[Any]:
        """Return records of a group, the newest first, those older than `before`."""
        return await self._fetch("record_members", tenant, operator, fingerprint, before, limit)

    async def record(self, tenant: str, record: UUID, *, operator: bool) -> Any | None:
        """Return a record with what it holds; None if there is none to be seen."""
        rows = await self._fetch("record_get", tenant, operator, record)
        return rows[0] if rows else None

    async def record_ids(self, which: Failures, began: datetime, limit: int) -> list[UUID]:
        """Return ids of records that match and wait, the oldest first: for operators."""
        before = began if which.failed_before is None else min(began, which.failed_before)
        rows = await self._fetch(
            "record_ids", which.ids, which.fingerprint, which.type, before, which.failed_from, limit
        )
        return [row["id"] for row in rows]

    async def records_replayed(self, records: Sequence[UUID]) -> None:
        """Note that records were sent again: they wait no more."""
        if records:
            await self._fetch("record_replayed", list(records))
