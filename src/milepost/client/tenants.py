"""Tenants, and what they may take."""

from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from pydantic import TypeAdapter

from milepost.client.http import Http
from milepost.client.parsing import parsed
from milepost_schemas.tenant import Tenant, TenantPage

_PAGE: Final = 200
_TENANT: Final = TypeAdapter(Tenant)
_TENANTS: Final = TypeAdapter(TenantPage)


class Tenants:
    """Tenants of a client's API; made by `Client.tenants`, for an admin key of the installation's own tenant.

    Raises what the client raises.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> AsyncIterator[Tenant]:
        """Yield tenants that were given a key or quotas, by name."""
        params = {"limit": str(_PAGE)}
        while True:
            page = parsed(_TENANTS, await self._http.call("GET", "/v1/tenants", params=params))
            for tenant in page.items:
                yield tenant
            if page.next is None:
                return
            params["cursor"] = page.next

    async def set(
        self,
        name: str,
        *,
        requests: int | None = None,
        requests_per: float | None = None,
        queued: int | None = None,
        queued_bytes: int | None = None,
    ) -> Tenant:
        """Set all quotas of a tenant and return it; None: what the settings of the api say. One that is new is made.

        `requests_per` is in seconds.
        """
        quotas = {
            "requests": requests,
            "requests_per": requests_per,
            "queued": queued,
            "queued_bytes": queued_bytes,
        }
        return parsed(_TENANT, await self._http.call("PUT", f"/v1/tenants/{quote(name, safe='')}", json=quotas))
