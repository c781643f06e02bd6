"""Who is asking. Today one key of the installation; tenants with many keys and scopes will answer here too."""

import hmac
from dataclasses import dataclass

from milepost.runtime.settings import Settings

ALL_SCOPES = frozenset({"submit", "read", "operate", "admin"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds a valid key: everything they see and make belongs to `tenant`."""

    tenant: str
    scopes: frozenset[str] = ALL_SCOPES


class Authenticator:
    """Turns a key into a principal."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._principal = Principal(settings.tenant)

    def principal(self, token: str) -> Principal | None:
        """Return who holds this key; None for a wrong one, and for every one while no key is set."""
        if self._key is None or not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._key):
            return None
        return self._principal
