"""/v1/webhooks: made, changed, shown; what was delivered, and again."""

from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost.store import Store
from milepost.store.connection import Pool
from milepost.store.webhooks import MOST, Settled, Webhooks
from milepost_schemas import TaskState
from tests.integration.api.serving import KEY, Answer, Api, run, served

pytestmark = pytest.mark.stack

PATH = "/v1/webhooks"
URL = "https://example.com/hooks/milepost"


@pytest.fixture(autouse=True)
async def _none_before(pool: Pool, store: Store) -> None:
    del store
    await pool.execute("truncate milepost.webhooks, milepost.deliveries, milepost.delivery_attempts")


@pytest.fixture
def hooks(pool: Pool) -> Webhooks:
    return Webhooks(pool)


async def _made(api: Api, **members: Any) -> Any:
    answer = await api.post(PATH, json={"url": URL, **members})
    assert answer.status == 201, answer.content
    return answer.json


async def _delivered(api: Api, store: Store, hooks: Webhooks, state: str = "failed", count: int = 1) -> list[str]:
    """Let tasks end and their deliveries too; return the ids of those, the newest first."""
    for _ in range(count):
        await run(store, (await api.submit()).json["id"], TaskState.SUCCEEDED, result="7")
    taken = await hooks.take_deliveries(100, 30, of_webhook=100, of_tenant=100)
    error = None if state == "delivered" else "The receiver answered 500."
    await hooks.settle_deliveries(
        [
            Settled(each.id, each.attempt, state, None, 500 if error else 200, error, 0.25, "no", each.url)
            for each in taken
        ]
    )
    return [str(each.id) for each in sorted(taken, key=lambda each: each.id, reverse=True)]


async def test_a_webhook_is_made_and_its_secret_shown_once(api: Api) -> None:
    filters = {"types": ["demo.count"], "states": ["failed"], "labels": {"team": "red"}, "description": "ours"}
    answer = await api.post(PATH, json={"url": URL, **filters})
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == f"{PATH}/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["enabled"], made["failing_since"]) == (URL, True, None)
    assert {name: made[name] for name in filters} == filters
    shown = (await api.get(f"{PATH}/{made['id']}")).json
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (await api.get(PATH)).json == {"items": [shown]}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({}, "/url"), ({"url": 1}, "/url"), ({"url": ""}, "/url"), ({"url": "http://example.com/"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"), ({"url": "https://169.254.169.254/latest"}, "/url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "/url"), ({"url": "https://u:p@example.com/"}, "/url"),
        ({"url": "https://example.com:6379/"}, "/url"), ({"url": "https://localhost/"}, "/url"),
        ({"url": URL, "types": []}, "/types"), ({"url": URL, "types": ["a b"]}, "/types/0"),
        ({"url": URL, "states": ["running"]}, "/states/0"), ({"url": URL, "labels": {"a b": "c"}}, "/labels/a b/[key]"),
        ({"url": URL, "description": "a\nb"}, "/description"), ({"url": URL, "secret": "whsec_x"}, "/secret"),
        ({"url": URL, "tenant": "other"}, "/tenant"), ({"url": URL, "disabled_at": None}, "/disabled_at"),
    ],
    ids=str,
)  # fmt: skip
async def test_what_is_no_webhook_is_refused(api: Api, members: Any, path: str) -> None:
    answer = await api.post(PATH, json=members)
    assert (answer.status, answer.kind) == (422, "invalid-request")
    assert [row["path"] for row in answer.json["errors"]] == [path]
    assert (await api.get(PATH)).json == {"items": []}


async def test_a_tenant_has_so_many_webhooks(api: Api) -> None:
    for _ in range(MOST):
        await _made(api)
    answer = await api.post(PATH, json={"url": URL})
    assert (answer.status, answer.kind) == (429, "quota-exceeded")


async def test_what_is_named_is_changed_and_nothing_else(api: Api) -> None:
    made = await _made(api, types=["a"], labels={"x": "y"}, description="d")
    path = f"{PATH}/{made['id']}"
    changed = (await api.call("PATCH", path, json={"types": None, "states": ["failed"]})).json
    assert (changed["types"], changed["states"], changed["labels"], changed["description"]) == (
        None, ["failed"], {"x": "y"}, "d",
    )  # fmt: skip
    changed = (await api.call("PATCH", path, json={"enabled": False, "url": URL + "/2"})).json
    assert (changed["enabled"], changed["disabled_reason"], changed["url"]) == (
        False, "It was disabled by a request.", URL + "/2",
    )  # fmt: skip
    changed = (await api.call("PATCH", path, json={"enabled": True})).json
    assert (changed["enabled"], changed["disabled_reason"], changed["disabled_at"]) == (True, None, None)
    for wrong in ({}, {"url": None}, {"enabled": None}, {"url": "https://10.0.0.1/"}, {"secret": "x"}, {"failures": 0}):
        assert (await api.call("PATCH", path, json=wrong)).status == 422
    assert (await api.get(path)).json == changed


async def test_a_deleted_webhook_is_gone(api: Api, store: Store, hooks: Webhooks) -> None:
    made = await _made(api)
    (delivery,) = await _delivered(api, store, hooks)
    path = f"{PATH}/{made['id']}"
    answer = await api.call("DELETE", path)
    assert (answer.status, answer.content) == (204, b"")
    for method, below in (
        ("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("GET", f"/deliveries/{delivery}"), ("POST", "/ping"),
    ):  # fmt: skip
        assert (await api.call(method, path + below)).status == 404
    assert (await api.get(PATH)).json == {"items": []}


async def test_a_secret_is_rotated_and_the_old_one_signs_for_a_while(api: Api, hooks: Webhooks) -> None:
    made = await _made(api)
    rotated = (await api.post(f"{PATH}/{made['id']}/secret", json={"overlap": 60})).json
    assert rotated["secret"] != made["secret"]
    assert rotated["secret_old_until"]
    await api.post(f"{PATH}/{made['id']}/ping")
    (delivery,) = await hooks.take_deliveries(10, 30, of_webhook=8, of_tenant=32)
    assert delivery.secrets == (rotated["secret"], made["secret"])
    at_once = (await api.post(f"{PATH}/{made['id']}/secret", json={"overlap": 0})).json
    assert at_once["secret_old_until"] is None
    for overlap in (-1, 8 * 86_400, "x"):
        assert (await api.post(f"{PATH}/{made['id']}/secret", json={"overlap": overlap})).status == 422


async def test_the_log_is_shown_page_by_page(api: Api, store: Store, hooks: Webhooks) -> None:
    made = await _made(api)
    path = f"{PATH}/{made['id']}/deliveries"
    good = await _delivered(api, store, hooks, "delivered", 2)
    failed = await _delivered(api, store, hooks, "failed", 3)
    items: list[Any] = []
    cursor = ""
    while True:
        page = (await api.get(f"{path}?limit=2{cursor}")).json
        items += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert [item["id"] for item in items] == failed + good
    assert [item["state"] for item in items] == ["failed"] * 3 + ["delivered"] * 2
    assert {(item["outcome"], item["type"], item["webhook"]) for item in items} == {
        ("succeeded", "demo.count", made["id"])
    }
    only = (await api.get(f"{path}?state=failed")).json["items"]
    assert [item["id"] for item in only] == failed
    one = (await api.get(f"{path}/{failed[0]}")).json
    assert {name: value for name, value in one.items() if name != "log"} == only[0]
    (attempt,) = one["log"]
    assert (attempt["attempt"], attempt["status"], attempt["seconds"], attempt["answer"]) == (1, 500, 0.25, "no")
    assert (await api.get(f"{path}?state=x")).status == 422
    assert (await api.get(f"{path}?cursor=x")).status == 422
    assert (await api.get(f"{path}/{uuids.uuid7()}")).status == 404
    assert (await api.get(f"{path}/x")).status == 404


async def test_deliveries_are_made_once_more_one_or_many(api: Api, store: Store, hooks: Webhooks) -> None:
    made = await _made(api)
    path = f"{PATH}/{made['id']}/replay"
    failed = await _delivered(api, store, hooks, "failed", 3)
    good = await _delivered(api, store, hooks, "delivered")
    assert (await api.post(path, json={"ids": [good[0], str(uuids.uuid7())]})).json == {
        "count": 1, "ids": good, "more": False, "next": None,
    }  # fmt: skip
    asked = {"state": "failed", "noted_from": "2026-01-01T00:00:00Z", "limit": 2}
    page = (await api.post(path, json=asked)).json
    assert (page["count"], page["ids"], page["more"]) == (2, failed[:0:-1], True)
    for wrong in ({"cursor": page["next"]}, {**asked, "state": "delivered", "cursor": page["next"]},
                  {**asked, "cursor": "x"}, {**asked, "cursor": "1" + page["next"]}):  # fmt: skip
        assert (await api.post(path, json=wrong)).status == 422
    assert (await api.post(path, json={**asked, "cursor": page["next"]})).json == {
        "count": 1, "ids": failed[:1], "more": False, "next": None,
    }  # fmt: skip
    assert (await api.post(path, json={"state": "failed"})).json["count"] == 0
    refused: list[Any] = [{}, {"ids": []}, {"ids": ["x"]}, {"state": "pending"}, {"limit": 5}, {"noted_from": "now"}]
    for wrong in refused:
        assert (await api.post(path, json=wrong)).status == 422


async def test_another_tenant_sees_and_changes_nothing(
    api: Api, store: Store, hooks: Webhooks, settings: Settings
) -> None:
    made = await _made(api)
    (delivery,) = await _delivered(api, store, hooks)
    path = f"{PATH}/{made['id']}"
    theirs = settings.model_copy(update={"tenant": "other", "api_key": SecretStr(KEY)})
    async with served(theirs) as other:
        assert (await other.get(PATH)).json == {"items": []}
        calls: list[tuple[str, str, Any]] = [
            ("GET", path, None), ("PATCH", path, {"enabled": False}), ("DELETE", path, None),
            ("POST", f"{path}/secret", {}), ("POST", f"{path}/ping", None), ("GET", f"{path}/deliveries", None),
            ("GET", f"{path}/deliveries/{delivery}", None), ("POST", f"{path}/replay", {"ids": [delivery]}),
        ]  # fmt: skip
        for method, where, body in calls:
            answer: Answer = await other.call(method, where, json=body)
            assert answer.status == 404, (method, where)
    row = await hooks.webhook("default", UUID(made["id"]))
    assert row is not None
    assert (row["disabled_at"], row["secret"]) == (None, made["secret"])
