"""Keys of tenants: made, shown once, used, and ended everywhere."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost.store import Filters, Store, migrate, open_pool
from milepost.store.connection import Pool
from milepost_schemas import TaskState
from tests.attacks.conftest import line_to
from tests.conftest import MakeSettings, eventually
from tests.integration.api.keyholders import key_of, made
from tests.integration.api.serving import COUNT, KEY, NOBODY, Api, published, run, served
from tests.proxy import Proxy

NEW_KEY, SHOWN = published("new-key"), published("key")


async def test_a_key_is_shown_once_and_kept_as_its_digest(api: Api, pool: Pool) -> None:
    key = await made(api, "the shop", tenant="digest")
    NEW_KEY.validate(key)
    assert re.fullmatch("mp_[A-Za-z0-9]{8}_[A-Za-z0-9]{43}", key["key"])
    assert key["key"].startswith(key["prefix"] + "_")
    assert (key["name"], key["tenant"], key["scopes"]) == ("the shop", "digest", ["submit", "read"])
    listed = await api.get("/v1/keys?tenant=digest")
    assert key["key"].encode() not in listed.content
    [shown] = listed.json["items"]
    SHOWN.validate(shown)
    assert shown == {name: value for name, value in key.items() if name != "key"}
    row = await pool.fetch("select t::text as row, digest from milepost.api_keys as t where id = $1", UUID(key["id"]))
    assert row[0]["digest"] == hashlib.sha256(key["key"].encode()).digest()
    secret = key["key"].rpartition("_")[2]
    assert secret not in row[0]["row"]


async def test_no_two_keys_are_alike(api: Api) -> None:
    keys = {(await made(api, tenant="alike"))["key"].rpartition("_")[2] for _ in range(20)}
    assert len(keys) == 20


async def test_what_a_key_makes_belongs_to_its_tenant(api: Api) -> None:
    key = await key_of(api, "acme")
    task = (await api.post("/v1/tasks", json={"type": "demo.count", "payload": {"to": 1}}, key=key)).json["id"]
    assert (await api.get(f"/v1/tasks/{task}", key=key)).status == 200
    assert (await api.get(f"/v1/tasks/{task}")).status == 404


SCOPED: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "submit": ("POST", "/v1/tasks", {"json": {"type": "demo.count", "payload": {"to": 1}}}, 202),
    "read": ("GET", "/v1/tasks", {}, 200),
    "operate": ("POST", "/v1/dead-letters/replay", {"json": {"all": True}}, 200),
    "admin": ("GET", "/v1/keys", {}, 200),
}


@pytest.mark.parametrize("scope", SCOPED)
async def test_a_scope_opens_its_routes_and_no_others(api: Api, scope: str) -> None:
    key = await key_of(api, "scoped", scope)
    for needed, (method, path, options, status) in SCOPED.items():
        answer = await api.call(method, path, key=key, **options)
        if needed == scope:
            assert answer.status == status
        else:
            assert (answer.status, answer.kind) == (403, "forbidden")
            assert f"the scope {needed};" in answer.json["detail"]
            assert f"scopes are: {scope}." in answer.json["detail"]


ROUTES = {
    "POST /v1/tasks": "submit",
    "POST /v1/tasks/batch": "submit",
    "GET /v1/tasks": "read",
    "GET /v1/tasks/{id}": "read",
    "GET /v1/tasks/{id}/result": "read",
    "GET /v1/tasks/{id}/attempts": "read",
    "GET /v1/tasks/{id}/children": "read",
    "POST /v1/tasks/{id}/cancel": "operate",
    "POST /v1/tasks/{id}/retry": "operate",
    "GET /v1/tasks/{id}/explain": "read",
    "GET /v1/tasks/{id}/events": "read",
    "GET /v1/queues": "read",
    "POST /v1/queues/{queue}/pause": "operate",
    "POST /v1/queues/{queue}/resume": "operate",
    "PUT /v1/queues/{queue}/limits": "operate",
    "PUT /v1/queues/{queue}/retention": "admin",
    "GET /v1/limits": "read",
    "PUT /v1/limits": "operate",
    "GET /v1/types": "read",
    "GET /v1/workers": "read",
    "GET /v1/quotas": "read",
    "GET /v1/dead-letters": "read",
    "GET /v1/dead-letters/{id}": "read",
    "GET /v1/dead-letters/groups/{fingerprint}": "read",
    "POST /v1/dead-letters/replay": "operate",
    "POST /v1/watch-tokens": "read",
    "POST /v1/tickets": "read",
    "POST /v1/keys": "admin",
    "GET /v1/keys": "admin",
    "DELETE /v1/keys/{id}": "admin",
    "GET /v1/tenants": "admin",
    "PUT /v1/tenants/{tenant}": "admin",
    "POST /v1/webhooks": "admin",
    "GET /v1/webhooks": "admin",
    "GET /v1/webhooks/{id}": "admin",
    "PATCH /v1/webhooks/{id}": "admin",
    "DELETE /v1/webhooks/{id}": "admin",
    "POST /v1/webhooks/{id}/secret": "admin",
    "POST /v1/webhooks/{id}/ping": "operate",
    "GET /v1/webhooks/{id}/deliveries": "read",
    "GET /v1/webhooks/{id}/deliveries/{delivery}": "read",
    "POST /v1/webhooks/{id}/replay": "operate",
}


async def test_every_route_says_which_scope_it_needs(api: Api) -> None:
    described = {
        f"{method.upper()} {path}": operation["security"][0]["key"]
        for path, operations in api.document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    assert described == {route: [scope] for route, scope in ROUTES.items()}


async def test_a_tenants_admin_looks_after_its_own_keys_only(api: Api) -> None:
    admin = await key_of(api, "mine")
    theirs = await made(api, tenant="theirs")
    own = await made(api, by=admin)
    assert own["tenant"] == "mine"
    assert {key["id"] for key in (await api.get("/v1/keys", key=admin)).json["items"]} >= {own["id"], own["created_by"]}
    for answer in (
        await api.post("/v1/keys", json={"name": "x", "tenant": "theirs"}, key=admin),
        await api.get("/v1/keys?tenant=theirs", key=admin),
    ):
        assert (answer.status, answer.kind) == (403, "forbidden")
    assert (await api.call("DELETE", f"/v1/keys/{theirs['id']}", key=admin)).status == 404
    assert (await api.get("/v1/types", key=theirs["key"])).status == 200
    # The installation's own tenant looks after all; a key of it without admin after none.
    reader = (await made(api, scopes=["read"]))["key"]
    assert (await api.get("/v1/keys?tenant=theirs", key=reader)).status == 403
    overseer = (await made(api, scopes=["admin"]))["key"]
    assert len((await api.get("/v1/keys?tenant=theirs", key=overseer)).json["items"]) == 1
    assert (await api.call("DELETE", f"/v1/keys/{theirs['id']}", key=overseer)).status == 200


@pytest.mark.parametrize(
    "asked",
    [
        {},
        [],
        {"name": ""},
        {"name": "x\n"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "tenant": "Acme"},
        {"name": "x", "tenant": ""},
        {"name": "x", "expires_in": 0},
        {"name": "x", "expires_in": 1, "expires_at": "2030-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "2030-01-01"},
        {"name": "x", "key": "mp_mine"},
        {"name": "x", "id": "01890000-0000-7000-8000-000000000001"},
        {"name": "x", "created_by": None},
    ],
    ids=str,
)
async def test_anything_else_is_refused_and_makes_no_key(api: Api, asked: Any) -> None:
    before = (await api.get("/v1/keys?revoked=true&limit=1")).json["items"]
    answer = await api.post("/v1/keys", json=asked)
    assert answer.status == 422
    assert answer.json["errors"]
    assert (await api.get("/v1/keys?revoked=true&limit=1")).json["items"] == before


async def test_scopes_are_kept_in_order_and_once(api: Api) -> None:
    assert (await made(api, scopes=["admin", "read", "admin"]))["scopes"] == ["read", "admin"]


async def test_keys_are_listed_page_by_page_the_newest_first(api: Api) -> None:
    ids = [(await made(api, f"number {n}", tenant="pages"))["id"] for n in range(5)]
    found: list[str] = []
    query = "/v1/keys?tenant=pages&limit=2"
    path: str | None = query
    while path is not None:
        page = (await api.get(path)).json
        found += [key["id"] for key in page["items"]]
        path = None if page["next"] is None else f"{query}&cursor={page['next']}"
    assert found == ids[::-1]
    cursor = (await api.get(query)).json["next"]
    assert (await api.get(f"/v1/keys?tenant=alike&limit=2&cursor={cursor}")).status == 422


async def test_a_revoked_key_opens_nothing_at_once_and_stays_so(api: Api) -> None:
    key = await made(api, tenant="gone")
    assert (await api.get("/v1/types", key=key["key"])).status == 200
    revoked = await api.call("DELETE", f"/v1/keys/{key['id']}")
    assert revoked.json["revoked_at"]
    answer = await api.get("/v1/types", key=key["key"])
    assert (answer.status, "revoked" in answer.json["detail"]) == (401, True)
    again = await api.call("DELETE", f"/v1/keys/{key['id']}")
    assert again.json == revoked.json
    assert (await api.get("/v1/keys?tenant=gone")).json["items"] == []
    assert [one["id"] for one in (await api.get("/v1/keys?tenant=gone&revoked=true")).json["items"]] == [key["id"]]


async def test_a_key_that_is_revoked_while_its_body_is_on_its_way_makes_nothing(api: Api) -> None:
    key = await made(api, tenant="slow", scopes=["admin"])
    body = b'{"name": "mine for ever"}'
    head = (
        f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key['key']}\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with line_to(urlsplit(api.url).port or 0) as line:
        await line.send(head.encode())
        assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100"), "the key was good by then"
        await api.call("DELETE", f"/v1/keys/{key['id']}")
        await line.send(body)
        assert (await line.answer())[0] == 401
    assert (await api.get("/v1/keys?tenant=slow")).json["items"] == []


async def test_a_key_that_is_revoked_while_it_waits_for_a_result_gets_none(api: Api, store: Store) -> None:
    key = await made(api, tenant="waits", scopes=["submit", "read"])
    body = {"type": "demo.count", "payload": {"to": 1}}
    waiting = asyncio.create_task(api.post("/v1/tasks", json=body, key=key["key"], headers={"Prefer": "wait=60"}))
    stored: list[Any] = []

    async def there() -> bool:
        stored[:] = await store.find("waits", Filters(limit=2))
        return bool(stored)

    await eventually(there, "the task to be stored")
    await api.call("DELETE", f"/v1/keys/{key['id']}")
    await run(store, str(stored[0]["id"]), TaskState.SUCCEEDED, result='"secret"')
    answer = await waiting
    assert (answer.status, b"secret" in answer.content) == (401, False)


async def test_what_is_no_id_of_a_key_is_not_found(api: Api) -> None:
    for id_ in ("x", "01890000-0000-7000-8000-000000000001"):
        answer = await api.call("DELETE", f"/v1/keys/{id_}")
        assert (answer.status, answer.kind) == (404, "not-found")


async def test_a_key_that_has_expired_says_so(api: Api, pool: Pool) -> None:
    key = await made(api, tenant="brief", expires_in=3600)
    await pool.fetch("update milepost.api_keys set expires_at = now() - interval '1 s' where id = $1", UUID(key["id"]))
    answer = await api.get("/v1/types", key=key["key"])
    assert (answer.status, "expired" in answer.json["detail"]) == (401, True)


async def test_what_a_key_gives_away_ends_with_it(api: Api) -> None:
    key = await made(api, tenant="brief", expires_in=30, scopes=["read", "submit"])
    task = (await api.post("/v1/tasks", json={"type": "demo.count", "payload": {"to": 1}}, key=key["key"])).json
    token = await api.post("/v1/watch-tokens", json={"task": task["id"]}, key=key["key"])
    left = datetime.fromisoformat(token.json["expires_at"]) - datetime.now(UTC)
    assert left.total_seconds() <= 30
    for watch_token in (task["watch_token"], token.json["token"]):
        assert (await api.get(f"/v1/tasks/{task['id']}", key=watch_token)).status == 200
    await api.call("DELETE", f"/v1/keys/{key['id']}")
    for watch_token in (task["watch_token"], token.json["token"]):
        answer = await api.get(f"/v1/tasks/{task['id']}", key=watch_token)
        assert (answer.status, "revoked" in answer.json["detail"]) == (401, True)


# -- several processes


@pytest.fixture
async def other(settings: Settings, api: Api) -> AsyncIterator[Api]:
    """Serve the API a second time, from the same database."""
    del api
    async with served(settings) as running:
        yield running


async def test_a_key_made_here_is_good_there_at_once(api: Api, other: Api) -> None:
    key = await key_of(api, "both")
    assert (await other.get("/v1/types", key=key)).status == 200


async def test_a_key_revoked_here_is_soon_worthless_there(api: Api, other: Api) -> None:
    key = await made(api, tenant="both")
    token = (await api.post("/v1/watch-tokens", json={"feed": "tasks"}, key=key["key"])).json["token"]
    assert (await other.get("/v1/types", key=key["key"])).status == 200
    assert (await other.get("/v1/tasks", key=token)).status == 200
    await api.call("DELETE", f"/v1/keys/{key['id']}")

    async def refused() -> bool:
        return [(await other.get("/v1/tasks", key=held)).status for held in (key["key"], token)] == [401, 401]

    await eventually(refused, "the revocation is known there", within_s=5)


async def test_a_process_that_starts_later_knows_what_was_revoked_before(api: Api, settings: Settings) -> None:
    key = await made(api, tenant="before")
    token = (await api.post("/v1/watch-tokens", json={"feed": "tasks"}, key=key["key"])).json["token"]
    await api.call("DELETE", f"/v1/keys/{key['id']}")
    async with served(settings) as late:

        async def refused() -> bool:
            return (await late.get("/v1/tasks", key=token)).status == 401

        assert (await late.get("/v1/types", key=key["key"])).status == 401
        await eventually(refused, "the late process knows of it", within_s=5)


async def test_uses_are_written_now_and_then_and_at_the_end(api: Api, settings: Settings) -> None:
    key = await made(api, tenant="used")
    async with served(settings) as other:
        for _ in range(3):
            assert (await other.get("/v1/types", key=key["key"])).status == 200
    [shown] = (await api.get("/v1/keys?tenant=used")).json["items"]
    assert shown["last_used_at"]


# -- while Postgres is away


async def test_while_postgres_is_away_known_keys_stay_good_and_new_ones_are_asked_to_wait(
    settings: Settings, api: Api
) -> None:
    known, new = await key_of(api, "away"), await key_of(api, "away")
    url = settings.database_url.get_secret_value()
    host, _, rest = url.partition("@")[2].partition(":")
    port = rest.partition("/")[0]
    proxy = Proxy(host, int(port))
    await proxy.listen()
    behind = SecretStr(url.replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}"))
    try:
        async with served(settings.model_copy(update={"database_url": behind})) as cut_off:
            token = {"feed": "tasks"}
            assert (await cut_off.post("/v1/watch-tokens", json=token, key=known)).status == 201
            await proxy.refuse()
            assert (await cut_off.post("/v1/watch-tokens", json=token, key=known)).status == 201
            answer = await cut_off.post("/v1/watch-tokens", json=token, key=new)
            assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (503, "unavailable", "2")
            assert (await cut_off.post("/v1/watch-tokens", json=token, key="mp_guess")).status == 401
            assert (await cut_off.post("/v1/watch-tokens", json=token)).status == 201, "the settings' own key"
            await proxy.listen()

            async def accepted() -> bool:
                return (await cut_off.post("/v1/watch-tokens", json=token, key=new)).status == 201

            await eventually(accepted, "new keys are good again")
    finally:
        await proxy.refuse()


async def test_an_installation_without_a_key_in_its_settings_works_with_those_in_the_database(
    fresh: MakeSettings,
) -> None:
    settings = await fresh(kafka_bootstrap=NOBODY, api_key=SecretStr(KEY))
    await migrate(settings)
    pool = await open_pool(settings, "test")
    await Store(pool).announce([COUNT])
    await pool.close()
    async with served(settings) as api:
        key = await key_of(api, "default")
    async with served(settings.model_copy(update={"api_key": None})) as api:
        assert (await api.get("/v1/types")).status == 401
        accepted = await api.post("/v1/tasks", json={"type": "demo.count", "payload": {"to": 1}}, key=key)
        assert accepted.status == 202
        assert "watch_token" not in accepted.json, "there is nothing to sign it with"
        answer = await api.post("/v1/watch-tokens", json={"feed": "tasks"}, key=key)
        assert (answer.status, "MILEPOST_TOKEN_SECRET" in answer.json["detail"]) == (503, True)
        assert (await api.get("/v1/tasks?limit=1", key=key)).status == 200


async def test_a_hundred_requests_with_a_new_key_share_one_look_up(api: Api, settings: Settings) -> None:
    key = await key_of(api, "many")
    async with served(settings) as other:
        answers = await asyncio.gather(*(other.get("/v1/types", key=key) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
