"""Nothing crosses a tenant over HTTP: every route there is, asked for what belongs to another.

A route that is added and not listed here fails the first test: say what of another tenant's could be asked of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest

from milepost.runtime.settings import Settings
from milepost.store import Store
from milepost.store.connection import Pool
from milepost_api.app import create_app
from milepost_api.endpoint import Endpoint
from milepost_schemas import TaskState
from tests.integration.api.keyholders import key_of, made
from tests.integration.api.serving import Answer, Api, run

MARK = "belongs-to-the-victim"
"""In everything the victim has that somebody could be shown."""


@dataclass
class Victim:
    """A tenant that has some of everything."""

    key: str
    key_id: str
    tasks: dict[str, str] = field(default_factory=dict)
    """Ids, by the state the task is in."""
    fingerprint: str = ""
    cursor: str = ""
    watch_token: str = ""
    webhook: str = ""
    delivery: str = ""

    @property
    def ids(self) -> list[str]:
        return [*self.tasks.values(), self.key_id, self.webhook, self.delivery]


Request = dict[str, Any]
Asks = Callable[[Victim], list[tuple[str, Request]]]
"""Paths, and what goes with them, that somebody would try who knows all there is to know but the key."""


def _with_ids(path: str, **request: Any) -> Asks:
    return lambda victim: [(path.format(id=id_), request) for id_ in victim.ids]


def _plain(path: str, **request: Any) -> Asks:
    return lambda _victim: [(path, request)]


def _hook(below: str = "", *bodies: Request) -> Asks:
    def asks(victim: Victim) -> list[tuple[str, Request]]:
        path = f"/v1/webhooks/{victim.webhook}{below.format(delivery=victim.delivery)}"
        return [(path, {"json": body} if body else {}) for body in bodies or ({},)]

    return asks


def _hook_replays(victim: Victim) -> list[tuple[str, Request]]:
    return _hook("/replay", {"ids": [victim.delivery]}, {"noted_before": "9000-01-01T00:00:00Z"})(victim)


def _replays(victim: Victim) -> list[tuple[str, Request]]:
    bodies = [
        {"ids": list(victim.tasks.values())},
        {"fingerprint": victim.fingerprint},
        {"type": "demo.free"},
        {"all": True, "dry_run": True},
        {"all": True},
    ]
    return [("/v1/dead-letters/replay", {"json": body}) for body in bodies]


def _lists(victim: Victim) -> list[tuple[str, Request]]:
    task = victim.tasks["queued"]
    queries = ("", f"?label=whose={MARK}", f"?parent={task}", f"?root={task}", f"?limit=1&cursor={victim.cursor}")
    return [(f"/v1/tasks{query}", {}) for query in queries]


def _submissions(victim: Victim) -> list[tuple[str, Request]]:
    child = {"type": "demo.free", "parent_id": victim.tasks["queued"]}
    same = {"type": "demo.free", "payload": {"text": MARK}, "labels": {"whose": MARK}}
    return [
        ("/v1/tasks", {"json": child}),
        ("/v1/tasks", {"json": {"type": "demo.free", "tenant": "victim"}}),
        ("/v1/tasks", {"json": {**same, "payload": {}, "labels": {}}, "headers": {"Idempotency-Key": "the-victims"}}),
    ]


def _batches(victim: Victim) -> list[tuple[str, Request]]:
    tasks = [
        {"type": "demo.free", "parent_id": victim.tasks["queued"]},
        {"type": "demo.free", "idempotency_key": "the-victims"},
    ]
    return [("/v1/tasks/batch", {"json": {"tasks": tasks}})]


def _keys(victim: Victim) -> list[tuple[str, Request]]:
    del victim
    return [("/v1/keys", {}), ("/v1/keys?tenant=victim", {}), ("/v1/keys?tenant=victim&revoked=true", {})]


def _groups(victim: Victim) -> list[tuple[str, Request]]:
    path = f"/v1/dead-letters/groups/{victim.fingerprint}"
    return [(path, {}), (f"{path}?kind=record", {})]


def _limits(victim: Victim) -> list[tuple[str, Request]]:
    del victim
    bodies: list[Any] = [
        {"scope": "tenant", "name": "victim", "concurrency": 0},
        {"scope": "queue", "name": "default", "concurrency": 0, "all_tenants": True},
        {"scope": "key", "name": "mine", "concurrency": 1},
    ]
    return [("/v1/limits", {"json": body}) for body in bodies]


TRIED: dict[str, Asks] = {
    "POST /v1/tasks": _submissions,
    "POST /v1/tasks/batch": _batches,
    "GET /v1/tasks": _lists,
    "GET /v1/tasks/{id}": _with_ids("/v1/tasks/{id}"),
    "GET /v1/tasks/{id}/result": _with_ids("/v1/tasks/{id}/result"),
    "GET /v1/tasks/{id}/attempts": _with_ids("/v1/tasks/{id}/attempts"),
    "GET /v1/tasks/{id}/children": _with_ids("/v1/tasks/{id}/children"),
    "GET /v1/tasks/{id}/explain": _with_ids("/v1/tasks/{id}/explain"),
    "GET /v1/tasks/{id}/events": _with_ids("/v1/tasks/{id}/events"),
    "GET /v1/queues": _plain("/v1/queues"),
    "POST /v1/queues/{queue}/pause": _plain("/v1/queues/default/pause?tenants=all"),
    "POST /v1/queues/{queue}/resume": _plain("/v1/queues/default/resume?tenants=all"),
    "PUT /v1/queues/{queue}/limits": _plain("/v1/queues/default/limits?tenants=all", json={"concurrency": 0}),
    "PUT /v1/queues/{queue}/retention": _plain("/v1/queues/default/retention", json={"finished": 3600}),
    "GET /v1/limits": _plain("/v1/limits"),
    "PUT /v1/limits": _limits,
    "POST /v1/tasks/{id}/cancel": _with_ids("/v1/tasks/{id}/cancel"),
    "POST /v1/tasks/{id}/retry": _with_ids("/v1/tasks/{id}/retry"),
    "GET /v1/dead-letters": lambda _: [("/v1/dead-letters", {}), ("/v1/dead-letters?type=demo.free", {})],
    "GET /v1/dead-letters/{id}": _with_ids("/v1/dead-letters/{id}"),
    "GET /v1/dead-letters/groups/{fingerprint}": _groups,
    "POST /v1/dead-letters/replay": _replays,
    # What they give says of nothing whether it is there; what it opens, the tests of streams and tokens say.
    "POST /v1/watch-tokens": lambda victim: [("/v1/watch-tokens", {"json": {"task": victim.tasks["queued"]}})],
    "POST /v1/tickets": lambda victim: [("/v1/tickets", {"json": {"task": victim.tasks["queued"]}})],
    "GET /v1/types": _plain("/v1/types"),
    "GET /v1/workers": _plain("/v1/workers"),
    "POST /v1/keys": _plain("/v1/keys", json={"name": "x", "tenant": "victim"}),
    "GET /v1/keys": _keys,
    "DELETE /v1/keys/{id}": _with_ids("/v1/keys/{id}"),
    "GET /v1/tenants": _plain("/v1/tenants"),
    "GET /v1/quotas": _plain("/v1/quotas"),
    "PUT /v1/tenants/{tenant}": _plain("/v1/tenants/victim", json={"requests": 1}),
    "GET /metrics": _plain("/metrics"),
    "GET /v1/metrics": _plain("/v1/metrics"),
    "POST /v1/webhooks": _plain("/v1/webhooks", json={"url": "https://example.com/", "tenant": "victim"}),
    "GET /v1/webhooks": _plain("/v1/webhooks"),
    "GET /v1/webhooks/{id}": _hook(),
    "PATCH /v1/webhooks/{id}": _hook("", {"enabled": False}, {"url": "https://example.org/"}),
    "DELETE /v1/webhooks/{id}": _hook(),
    "POST /v1/webhooks/{id}/secret": _hook("/secret", {"overlap": 0}),
    "POST /v1/webhooks/{id}/ping": _hook("/ping"),
    "GET /v1/webhooks/{id}/deliveries": _hook("/deliveries"),
    "GET /v1/webhooks/{id}/deliveries/{delivery}": _hook("/deliveries/{delivery}"),
    "POST /v1/webhooks/{id}/replay": _hook_replays,
}
SHOWN = {
    "GET /v1/tasks",
    "GET /v1/tasks/{id}",
    "GET /v1/tasks/{id}/result",
    "GET /v1/tasks/{id}/attempts",
    "GET /v1/tasks/{id}/children",
    "GET /v1/tasks/{id}/explain",
    "GET /v1/tasks/{id}/events",
    "GET /v1/limits",
    "GET /v1/dead-letters",
    "GET /v1/dead-letters/{id}",
    "GET /v1/dead-letters/groups/{fingerprint}",
    "GET /v1/keys",
    "GET /v1/webhooks",
    "GET /v1/webhooks/{id}",
    "GET /v1/webhooks/{id}/deliveries",
    "GET /v1/webhooks/{id}/deliveries/{delivery}",
}
"""Where the victim itself sees its mark: so we know that we would see it."""


@pytest.fixture(scope="module")
async def victim(api: Api, store: Store) -> Victim:
    key = await made(api, MARK, tenant="victim", scopes=["submit", "read", "operate", "admin"])
    victim = Victim(key["key"], key["id"])
    error = orjson.dumps({"type": "Refused", "message": MARK}).decode()
    hook = {"url": "https://example.com/", "description": MARK}
    victim.webhook = (await api.post("/v1/webhooks", json=hook, key=victim.key)).json["id"]
    for number, state in enumerate(("queued", "scheduled", "failed", "succeeded", "running")):
        answer = await api.post(
            "/v1/tasks",
            json={
                "type": "demo.free",
                "payload": {"text": MARK},
                "labels": {"whose": MARK},
                **({"delay": 600, "parent_id": victim.tasks["queued"]} if state == "scheduled" else {}),
            },
            headers={"Idempotency-Key": "the-victims"} if number == 0 else {},
            key=victim.key,
        )
        assert answer.status == 202
        victim.tasks[state] = answer.json["id"]
        if state == "failed":
            await run(store, answer.json["id"], TaskState.FAILED, error=error)
            # So that it has a history too.
            again = await api.post(f"/v1/tasks/{answer.json['id']}/retry", key=victim.key)
            await run(store, answer.json["id"], TaskState.FAILED, epoch=again.json["epoch"], error=error)
        elif state == "succeeded":
            await run(store, answer.json["id"], TaskState.SUCCEEDED, result=f'"{MARK}"')
        elif state == "running":
            await run(store, answer.json["id"])
    limit = {"scope": "key", "name": MARK, "concurrency": 1}
    assert (await api.call("PUT", "/v1/limits", json=limit, key=victim.key)).status == 200
    failed = await api.get(f"/v1/dead-letters/{victim.tasks['failed']}", key=victim.key)
    victim.fingerprint = failed.json["fingerprint"]
    log = await api.get(f"/v1/webhooks/{victim.webhook}/deliveries", key=victim.key)
    victim.delivery = log.json["items"][0]["id"]
    victim.cursor = (await api.get("/v1/tasks?limit=1", key=victim.key)).json["next"]
    token = {"task": victim.tasks["queued"]}
    victim.watch_token = (await api.post("/v1/watch-tokens", json=token, key=victim.key)).json["token"]
    return victim


@pytest.fixture(scope="module")
async def intruder(api: Api) -> str:
    """Make a key that may do everything, of another tenant."""
    return await key_of(api, "intruder")


async def test_every_route_is_tried(settings: Settings) -> None:
    routes = {
        f"{method} {route.path}"
        for route in create_app(settings).router.routes
        if isinstance(route, Endpoint) and route.requires is not None
        for method in route.methods or ()
    }
    assert routes == set(TRIED)


async def everything(pool: Pool) -> dict[str, list[Any]]:
    """Return all rows of the victim."""
    tables = {
        "tasks": "tenant = 'victim'",
        "attempts": "task_id in (select id from milepost.tasks where tenant = 'victim')",
        "api_keys": "tenant = 'victim'",
        "tenants": "name = 'victim'",
        "limits": "owner in ('victim', '*')",
        "replays": "tenant = 'victim'",
        "cancellations": "tenant = 'victim'",
        "webhooks": "tenant = 'victim'",
        "deliveries": "tenant = 'victim'",
    }
    # When a key was used is written in its own time.
    return {
        table: sorted(
            row["row"]
            for row in await pool.fetch(
                f"select (to_jsonb(t) - 'last_used_at')::text as row from milepost.{table} as t where {where}"  # noqa: S608
            )
        )
        for table, where in tables.items()
    }


def leaked(victim: Victim, answer: Answer) -> list[str]:
    """Return what of the victim's is in an answer."""
    text = answer.content.decode() + repr(answer.headers)
    return [what for what in (MARK, *victim.ids) if what in text]


@pytest.mark.parametrize("route", TRIED)
async def test_another_tenants_key_neither_sees_nor_moves_anything(
    api: Api, pool: Pool, victim: Victim, intruder: str, route: str
) -> None:
    method = route.partition(" ")[0]
    before = await everything(pool)
    for path, request in TRIED[route](victim):
        answer = await api.call(method, path, key=intruder, **request)
        assert leaked(victim, answer) == [], f"{method} {path}: {answer.content!r}"
        assert answer.status != 500
        if "{" in route and route != "GET /v1/dead-letters/groups/{fingerprint}":
            assert answer.status in {403, 404}, f"{method} {path}"
    assert await everything(pool) == before
    if route in SHOWN:
        seen = [await api.call(method, path, key=victim.key, **request) for path, request in TRIED[route](victim)]
        assert any(leaked(victim, answer) for answer in seen), "the test would not notice"


@pytest.mark.parametrize("route", TRIED)
async def test_a_watch_token_of_another_tenant_sees_nothing_either(
    api: Api, pool: Pool, victim: Victim, intruder: str, route: str
) -> None:
    # It covers the very task by its id, but for the intruder's tenant.
    asked = {"task": victim.tasks["queued"]}
    token = (await api.post("/v1/watch-tokens", json=asked, key=intruder)).json["token"]
    method = route.partition(" ")[0]
    before = await everything(pool)
    for path, request in TRIED[route](victim):
        answer = await api.call(method, path, key=token, **request)
        assert leaked(victim, answer) == [], f"{method} {path}: {answer.content!r}"
    assert await everything(pool) == before


async def test_what_the_intruder_submitted_is_its_own(api: Api, pool: Pool, victim: Victim, intruder: str) -> None:
    """The same idempotency key, another tenant: another task."""
    request = {"type": "demo.free", "payload": {"text": "mine"}}
    answer = await api.post("/v1/tasks", json=request, headers={"Idempotency-Key": "the-victims-2"}, key=victim.key)
    other = await api.post("/v1/tasks", json=request, headers={"Idempotency-Key": "the-victims-2"}, key=intruder)
    assert (answer.status, other.status) == (202, 202)
    assert answer.json["id"] != other.json["id"]
    row = await pool.fetch("select tenant from milepost.tasks where id = $1", UUID(other.json["id"]))
    assert row[0]["tenant"] == "intruder"
