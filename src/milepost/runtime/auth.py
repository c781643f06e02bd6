"""Who is asking. Today one key of the installation; tenants with many keys and scopes will answer here too."""

import hmac
from dataclasses import dataclass

from milepost.domain.grant import EVERYTHING, Grant
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens, Verified

ALL_SCOPES = frozenset({"submit", "read", "operate", "admin"})
WATCH = frozenset({"watch"})
"""Of a watch token: to watch what its grant covers, and nothing else."""


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

    @property
    def watches(self) -> bool:
        """Whether they may watch anything."""
        return not self.scopes.isdisjoint({"read", "watch"})


class Authenticator:
    """Turns a key or a watch token into a principal."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._principal = Principal(settings.tenant)
        self.tokens = Tokens.of(settings)

    def principal(self, token: str) -> Principal | None:
        """Return who holds this; None for what is neither our key nor a token of ours. Raises TokenExpired."""
        if self._key is not None and hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._key):
            return self._principal
        verified = self.tokens.verify(token)
        return None if verified is None else watcher(verified)


def watcher(verified: Verified) -> Principal:
    """Return the principal that a token makes of its holder."""
    return Principal(verified.tenant, WATCH, verified.grant, verified.expires_at, verified.lasts)
