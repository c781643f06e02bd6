"""Statements about API keys and tenants."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from milepost.domain.quotas import Quotas
from milepost.runtime.keys import Changes, KeyRow
from milepost.store.records import Waiting
from milepost.store.store import Store

KEYS_MOST = 1_000
"""Keys of one tenant that are not revoked."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be stored. It expires at `expires_at` or after `expires_in` seconds; neither: never."""

    id: UUID
    tenant: str
    digest: bytes
    prefix: str
    name: str
    scopes: list[str]
    created_by: UUID | None = None
    expires_at: datetime | None = None
    expires_in: float | None = None


class Keys(Store):
    """The store's statements, and those about keys and tenants. Satisfies milepost.runtime.keys.KeySource."""

    # -- for whoever lets people in

    async def find_keys(self, digests: Sequence[bytes]) -> list[KeyRow | None]:
        """Return the key of each digest, in order; None where there is none."""
        rows = {row["digest"]: row for row in await self._fetch("key_find", list(digests))}
        return [_key_row(rows[digest]) if digest in rows else None for digest in digests]

    async def keys_changed(self, since: datetime | None, tenants: Sequence[str]) -> Changes:
        """Return keys revoked and quotas changed since then (None: in the last hour), and those of `tenants`."""
        rows = await self._fetch("key_changes", since, list(tenants))
        [at] = [row["at"] for row in rows if row["revoked"] is None and row["tenant"] is None]
        revoked = [row["revoked"] for row in rows if row["revoked"] is not None]
        quotas = [(row["tenant"], quotas_of(row)) for row in rows if row["tenant"] and row["revoked"] is None]
        return Changes(at, revoked, quotas)

    async def keys_used(self, keys: Iterable[UUID]) -> None:
        """Write that these were used just now; at most every 30 s for each."""
        await self._fetch("key_used", list(keys))

    # -- for whoever looks after them

    async def create_key(self, key: NewKey) -> Any | None:
        """Store a key, and its tenant if there is none yet; return its row, None if the tenant has KEYS_MOST."""
        k = key
        rows = await self._fetch(
            "key_create", k.id, k.tenant, k.digest, k.prefix, k.name, k.scopes, k.created_by, k.expires_at,
            k.expires_in, KEYS_MOST,
        )  # fmt: skip
        return rows[0] if rows else None

    async def list_tenants(self, after: str | None, limit: int) -> list[Any]:
        """Return tenants by name, those behind `after`."""
        return await self._fetch("tenant_list", after, limit)

    async def set_quotas(
        self, tenant: str, requests: int | None, per: float | None, queued: int | None, queued_bytes: int | None
    ) -> Any:
        """Set what a tenant may take, None: what the settings say; return its row. A tenant that is new is made."""
        [row] = await self._fetch("tenant_set", tenant, requests, per, queued, queued_bytes)
        return row

    async def waiting(self, tenants: Sequence[tuple[str, int | None]]) -> dict[str, Waiting]:
        """Return what waits of each tenant; of each so many tasks are looked at, None: all of them."""
        rows = await self._fetch("counted", [name for name, _ in tenants], [most for _, most in tenants])
        return {row["tenant"]: Waiting(row["tasks"], row["bytes"]) for row in rows}

    async def list_keys(self, tenant: str, before: UUID | None, limit: int, *, revoked: bool) -> list[Any]:
        """Return keys of a tenant, the newest first, those older than `before`; the revoked ones only if asked for."""
        return await self._fetch("key_list", tenant, before, revoked, limit)

    async def revoke_key(self, key: UUID, tenant: str | None) -> Any | None:
        """Revoke a key, for good; return its row, None if the tenant (None: nobody) has none of this id."""
        rows = await self._fetch("key_revoke", key, tenant)
        return rows[0] if rows else None


def quotas_of(row: Any) -> Quotas:
    """Return what a tenant's row says of its quotas."""
    per = row["requests_per"]
    return Quotas(row["requests"], 60.0 if per is None else per, row["queued"], row["queued_bytes"])


def _key_row(row: Any) -> KeyRow:
    expires = row["expires_at"]
    return KeyRow(
        row["id"],
        row["digest"],
        row["tenant"],
        frozenset(row["scopes"]),
        None if expires is None else expires.timestamp(),
        row["revoked_at"] is not None,
        quotas_of(row),
    )
