"""API keys: made, listed, revoked."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from milepost.client.http import Http
from milepost.client.parsing import parsed
from milepost_schemas.key import Key, KeyPage, NewKey, Scope

_PAGE: Final = 200
_KEY: Final = TypeAdapter(Key)
_KEYS: Final = TypeAdapter(KeyPage)
_NEW: Final = TypeAdapter(NewKey)


class Keys:
    """Keys of a client's API; made by `Client.keys`. The client's own key needs the scope admin.

    Raises what the client raises.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        name: str,
        *,
        scopes: Iterable[Scope | str] | None = None,
        tenant: str | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | float | None = None,
    ) -> NewKey:
        """Make a key and return it: `key` is in this answer and nowhere else.

        It may submit and read unless `scopes` say otherwise. Asks once: who repeats it after Unreachable may make two.
        """
        asked: dict[str, Any] = {"name": name}
        if scopes is not None:
            asked["scopes"] = [str(scope) for scope in scopes]
        if tenant is not None:
            asked["tenant"] = tenant
        if expires_at is not None:
            asked["expires_at"] = expires_at.isoformat()
        if expires_in is not None:
            asked["expires_in"] = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
        return parsed(_NEW, await self._http.call("POST", "/v1/keys", json=asked, repeat_for=0.0))

    async def list(self, *, tenant: str | None = None, revoked: bool = False) -> AsyncIterator[Key]:
        """Yield keys, the newest first; with `revoked` those too that are good no more."""
        params = {"limit": str(_PAGE)} | ({} if tenant is None else {"tenant": tenant})
        if revoked:
            params["revoked"] = "true"
        while True:
            page = parsed(_KEYS, await self._http.call("GET", "/v1/keys", params=params))
            for key in page.items:
                yield key
            if page.next is None:
                return
            params["cursor"] = page.next

    async def revoke(self, id: UUID | str) -> Key:  # noqa: A002 - the API's own word
        """Revoke a key and return it as it is now. Raises Refused (404) if there is none."""
        return parsed(_KEY, await self._http.call("DELETE", f"/v1/keys/{UUID(str(id))}"))
