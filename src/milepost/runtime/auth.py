"""Who is asking: the holder of the installation's key, of a key of a tenant, or of a watch token."""

import hmac
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from milepost.domain.grant import EVERYTHING, Grant
from milepost.domain.quotas import Quotas
from milepost.runtime.keys import Changes, KeyEnded, KeyRing, KeyRow, KeySource
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import TokenExpired, Tokens, Verified
from milepost_schemas.key import Scope

ALL_SCOPES: frozenset[str] = frozenset(Scope)
WATCH = frozenset({"watch"})
"""Of a watch token: to watch what its grant covers, and nothing else."""

__all__ = ["ALL_SCOPES", "WATCH", "Authenticator", "KeyEnded", "Principal", "lasting"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds a valid key or token: everything they see and make belongs to `tenant`."""

    tenant: str
    scopes: frozenset[str] = ALL_SCOPES
    grant: Grant = EVERYTHING
    """What they may watch."""
    expires_at: float | None = None
    """Unix time; None: it does not expire."""
    lasts: float | None = None
    """Seconds until then, when it was checked."""
    key: UUID | None = None
    """Id of the key, for a token that of the key it was made with; None: the key in the settings."""
    own: bool = False
    """Whether `tenant` is the installation's own: the one in the settings."""

    @property
    def watches(self) -> bool:
        """Whether they may watch anything."""
        return not self.scopes.isdisjoint({Scope.READ, "watch"})

    @property
    def only_watches(self) -> bool:
        """Whether this is a watch token's holder."""
        return self.scopes == WATCH

    @property
    def oversees(self) -> bool:
        """Whether they look after the whole installation: all tenants, and what belongs to none."""
        return self.own and Scope.ADMIN in self.scopes


class Authenticator:
    """Turns a key or a watch token into a principal.

    `principal` answers at once, from memory; `learn` first for a key that this process may not have seen yet. Without a
    `source` of keys there is only the one in the settings.
    """

    def __init__(self, settings: Settings, source: KeySource | None = None) -> None:
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._tenant = settings.tenant
        self._principal = Principal(settings.tenant, own=True)
        defaults = Quotas(
            settings.quota_requests, settings.quota_requests_per, settings.quota_queued, settings.quota_queued_bytes
        )
        self.ring = KeyRing(source or _Nowhere(), defaults=defaults)
        self.ring.quotas(settings.tenant)  # the first look is for them: the key in the settings is looked up nowhere
        self.tokens = Tokens.of(settings)

    def principal(self, token: str) -> Principal | None:
        """Return who holds this; None for what is neither a key nor a token of ours. Raises TokenExpired, KeyEnded."""
        if self._is_ours(token):
            return self._principal
        row = self.ring.get(token)
        if row is not None:
            return self._holder(row)
        verified = self.tokens.verify(token)
        return None if verified is None else self.watcher(verified)

    def unseen(self, token: str) -> bool:
        """Whether this may be a key that `principal` does not know of yet."""
        return not self._is_ours(token) and not self.ring.knows(token)

    async def learn(self, token: str) -> None:
        """Have `principal` know of this, if it is a key. Raises Unavailable."""
        if self.unseen(token):
            await self.ring.learn(token)

    def watcher(self, verified: Verified) -> Principal:
        """Return the principal that a token makes of its holder. Raises TokenExpired if its key was revoked."""
        if verified.key is not None and self.ring.is_revoked(verified.key):
            raise TokenExpired("The key that this watch token was made with was revoked. Ask for another token.")
        return Principal(verified.tenant, WATCH, verified.grant, verified.expires_at, verified.lasts, verified.key)

    def token(self, principal: Principal, grant: Grant, ttl: int) -> tuple[str, int]:
        """Return a watch token of theirs, no longer good than what they came with, and its end (Unix time)."""
        return self.tokens.sign(principal.tenant, grant, lasting(principal, ttl), key=principal.key)

    def _is_ours(self, token: str) -> bool:
        return self._key is not None and hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._key)

    def _holder(self, row: KeyRow) -> Principal:
        lasts = None if row.expires_at is None else row.expires_at - time.time()
        own = row.tenant == self._tenant
        return Principal(row.tenant, row.scopes, EVERYTHING, row.expires_at, lasts, row.id, own)


def lasting(principal: Principal, ttl: int) -> int:
    """Return for how many seconds something of theirs may last: `ttl`, or until what they came with ends."""
    return ttl if principal.expires_at is None else max(1, min(ttl, int(principal.expires_at - time.time())))


class _Nowhere:
    """Keeps no keys."""

    async def find_keys(self, digests: Sequence[bytes]) -> list[KeyRow | None]:
        """Return None for each."""
        return [None for _ in digests]

    async def keys_changed(self, _since: datetime | None, _tenants: Sequence[str]) -> Changes:
        """Return that nothing did."""
        return Changes(datetime.now(UTC), (), ())

    async def keys_used(self, _keys: Iterable[UUID]) -> None:
        """Write nothing."""
