"""Statements about webhooks and what is delivered to them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from milepost.domain.delivering import DISABLE_AFTER_S, DISABLE_FAILURES, POLICY
from milepost.store.store import Store, sql

MOST: Final = 50
"""Webhooks of one tenant."""
AWAY_FAILURES: Final = 5
AWAY_S: Final = 60.0
"""Who failed so often and for so long was away: when it answers again, all that waits goes to it at once."""


IN_ORDER: Final = """
set local enable_bitmapscan = off; set local enable_sort = off; set local enable_incremental_sort = off
"""
"""For pages of logs: a plan that expects little, and a cached one always may, would sort all of a log for each page."""


class Delivery(NamedTuple):
    """One that is ours to send, under `attempt`. `row` is the end it tells of: columns of a task, None for a ping."""

    id: UUID
    webhook_id: UUID
    attempt: int
    tries: int
    """Attempts since it was noted or last replayed, this one included."""
    tried_s: float
    """Seconds since then."""
    url: str
    secrets: tuple[str, ...]
    """The newest first."""
    noted_at: datetime
    ping: bool
    row: Any | None


class Settled(NamedTuple):
    """What came of an attempt at `url`. `state`, and `delay` in seconds if it is to be tried again."""

    id: UUID
    attempt: int
    state: str
    delay: float | None
    status: int | None
    error: str | None
    seconds: float
    answer: str | None
    url: str


class Written(NamedTuple):
    """A settled attempt as Postgres took it. `disabled` is the reason why it disabled the webhook, None: it did not."""

    webhook_id: UUID
    disabled: str | None


class Span(NamedTuple):
    """Which deliveries of a webhook: those in a state and noted in a span of time. None means any."""

    state: str | None = None
    noted_from: datetime | None = None
    noted_before: datetime | None = None


ANY: Final = Span()


class Page(NamedTuple):
    """Where a replay goes on: at what was begun before its first page, `began`, behind the id `after`."""

    began: datetime
    after: UUID


class Webhooks(Store):
    """The store's statements, and those about webhooks."""

    # -- of a tenant

    async def add_webhook(
        self,
        tenant: str,
        webhook: UUID,
        url: str,
        secret: str,
        *,
        description: str | None,
        types: Sequence[str] | None,
        states: Sequence[str] | None,
        labels: Mapping[str, str] | None,
    ) -> Any | None:
        """Store a webhook and return its row; None if the tenant has MOST already."""
        rows = await self._fetch(
            "webhook_add", webhook, tenant, url, description, types, states, _json(labels), secret, MOST
        )
        return rows[0] if rows else None

    async def webhooks(self, tenant: str) -> list[Any]:
        """Return the tenant's webhooks, the oldest first."""
        return await self._fetch("webhooks_of", tenant)

    async def webhook(self, tenant: str, webhook: UUID) -> Any | None:
        """Return a webhook; None if the tenant has no such."""
        rows = await self._fetch("webhook_get", tenant, webhook)
        return rows[0] if rows else None

    async def change_webhook(
        self,
        tenant: str,
        webhook: UUID,
        names: Collection[str],
        *,
        url: str | None = None,
        description: str | None = None,
        types: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        enabled: bool = True,
    ) -> Any | None:
        """Change what `names` names, and return the row after it; None if the tenant has no such webhook."""
        rows = await self._fetch(
            "webhook_change", tenant, webhook, list(names), url, description, types, states, _json(labels), enabled
        )
        return rows[0] if rows else None

    async def rotate_secret(self, tenant: str, webhook: UUID, secret: str, overlap_s: float) -> Any | None:
        """Give a webhook a new secret; the one before signs besides for so long. None: there is no such webhook."""
        rows = await self._fetch("webhook_rotate", tenant, webhook, secret, overlap_s)
        return rows[0] if rows else None

    async def delete_webhook(self, tenant: str, webhook: UUID) -> bool:
        """Delete a webhook; whether there was one. Its log goes bit by bit."""
        return bool(await self._fetch("webhook_delete", tenant, webhook))

    async def ping_webhook(self, tenant: str, webhook: UUID) -> Any | None:
        """Note a delivery that tells of no task, and return it; None if there is no such webhook."""
        rows = await self._fetch("delivery_ping", tenant, webhook)
        return rows[0] if rows else None

    async def deliveries(
        self, tenant: str, webhook: UUID, state: str | None, before: UUID | None, limit: int
    ) -> list[Any]:
        """Return deliveries of a webhook, the newest first, those older than `before`; `state` None: in any."""
        if state is None:
            return await self._in_order("deliveries_of", tenant, webhook, before, limit)
        # Each goes by an index of its own (decision 4).
        return await self._in_order("deliveries_in_state", tenant, webhook, before, limit, state)

    async def delivery(self, tenant: str, webhook: UUID, delivery: UUID) -> Any | None:
        """Return one delivery; None if the webhook has no such."""
        rows = await self._fetch("delivery_get", tenant, webhook, delivery)
        return rows[0] if rows else None

    async def delivery_attempts(self, tenant: str, delivery: UUID, limit: int) -> list[Any]:
        """Return attempts of a delivery that are over, the newest first."""
        return await self._fetch("delivery_attempts_of", tenant, delivery, limit)

    async def replay_deliveries(self, tenant: str, webhook: UUID, ids: Sequence[UUID], span: Span = ANY) -> list[UUID]:
        """Have those of these in a span made once more; return their ids, the oldest first.

        What is not over is left alone.
        """
        (row,) = await self._in_order("deliveries_replay", tenant, webhook, ids, *span, None, None, None)
        replayed: list[UUID] = row["ids"]
        return replayed

    async def replay_span(
        self, tenant: str, webhook: UUID, span: Span, limit: int, page: Page | None = None
    ) -> tuple[list[UUID], Page | None]:
        """Have a page of a span made once more: return ids, the oldest first, and the page that follows (None: none).

        What is not over is left alone, and so is what was noted, first sent or replayed since the first page.
        """
        began, after = page or (None, None)
        (row,) = await self._in_order("deliveries_replay", tenant, webhook, None, *span, began, after, limit)
        return row["ids"], None if row["last"] is None else Page(row["began"], row["last"])

    async def _in_order(self, name: str, *arguments: Any) -> list[Any]:
        async with self._transaction() as connection:
            await connection.execute(IN_ORDER)
            rows: list[Any] = await connection.fetch(sql(name), *arguments)
            return rows

    # -- of whoever sends

    async def take_deliveries(self, limit: int, hold_s: float, *, of_webhook: int, of_tenant: int) -> list[Delivery]:
        """Return deliveries to send now; nobody else gets them for `hold_s` seconds.

        Of one webhook at most `of_webhook` are under way at once, whoever sends them, of one that fails only one; of
        a tenant `of_tenant`.
        """
        rows = await self._fetch("deliveries_take", limit, hold_s, of_webhook, of_tenant, POLICY.cap)
        return [_delivery(row) for row in rows]

    async def settle_deliveries(self, rows: Sequence[Settled]) -> list[Written | None]:
        """Write what came of attempts; None for one that somebody else has by now."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        found = await self._fetch(
            "deliveries_settle", *columns, DISABLE_AFTER_S, DISABLE_FAILURES, AWAY_FAILURES, AWAY_S
        )
        written = {(row["id"], row["attempt"]): Written(row["webhook_id"], row["disabled"]) for row in found}
        return [written.get((row.id, row.attempt)) for row in rows]

    async def prune_deliveries(self, older_than_s: float, limit: int) -> int:
        """Forget old deliveries, and those of deleted webhooks, `limit` in all; return how many went."""
        rows = await self._fetch("deliveries_prune", older_than_s, limit)
        count: int = rows[0][0]
        return count


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row["delivery"],
        webhook_id=row["webhook_id"],
        attempt=row["number"],
        tries=row["tries"],
        tried_s=row["tried_s"],
        url=row["url"],
        secrets=tuple(secret for secret in (row["secret"], row["secret_old"]) if secret is not None),
        noted_at=row["noted_at"],
        ping=row["task_id"] is None,
        row=None if row["id"] is None else row,
    )


def _json(value: Mapping[str, str] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
