"""Keys of tenants, made over the API as people make them."""

from typing import Any

from tests.integration.api.serving import Api


async def made(api: Api, name: str = "of a test", *, by: str = "", **asked: Any) -> dict[str, Any]:
    """Make a key and return the whole answer; `by` is the key used, the installation's own by default."""
    answer = await api.post("/v1/keys", json={"name": name, **asked}, key=by)
    assert answer.status == 201, answer.content
    document: dict[str, Any] = answer.json
    return document


async def limited(api: Api, tenant: str, **quotas: Any) -> None:
    """Set what a tenant may take."""
    answer = await api.call("PUT", f"/v1/tenants/{tenant}", json=quotas)
    assert answer.status == 200, answer.content


async def key_of(api: Api, tenant: str, *scopes: str) -> str:
    """Make a key of a tenant with these scopes, all of them unless some are named, and return the key itself."""
    wanted = list(scopes or ("submit", "read", "operate", "admin"))
    return str((await made(api, tenant=tenant, scopes=wanted))["key"])
