"""/v1/queues, /v1/limits and /v1/tasks/{id}/explain."""

from typing import Any
from uuid import UUID

import orjson
import pytest
import uuid_utils.compat as uuids

from milepost.store import Store, WorkerBeat
from milepost.store.connection import Pool
from milepost.store.records import Held
from milepost_schemas import TaskState
from tests.integration.api.keyholders import key_of
from tests.integration.api.serving import Api, run

pytestmark = pytest.mark.stack

WORKER = UUID(int=0xA1)


@pytest.fixture(autouse=True)
async def _no_limits(pool: Pool) -> None:
    await pool.execute("truncate milepost.limits, milepost.paces, milepost.workers")
    await pool.execute("update milepost.tasks set queue = 'gone' where queue like 'q-%'")


@pytest.fixture
async def other(api: Api) -> str:
    """A key of another tenant, with all scopes."""
    return await key_of(api, "other")


async def _beat(store: Store, queue: str, rates: str | None = None) -> None:
    await store.beat(WorkerBeat(WORKER, "w", "h", 1, "1", [queue], ["demo.count"], 4, 0, draining=False, rates=rates))


async def _queue(api: Api, name: str) -> Any:
    found = [each for each in (await api.get("/v1/queues")).json["items"] if each["queue"] == name]
    return found[0] if found else None


async def _explained(api: Api, task: str) -> Any:
    answer = await api.get(f"/v1/tasks/{task}/explain")
    assert answer.status == 200
    return answer.json


async def test_a_queue_shows_what_waits_what_runs_and_who_serves_it(api: Api, store: Store) -> None:
    assert await _queue(api, "q-shown") is None
    tasks = [(await api.submit(queue="q-shown")).json["id"] for _ in range(3)]
    await store.claim(WORKER, 15.0, [Held(UUID(tasks[0]), 0)])
    await _beat(store, "q-shown", rates='{"q-shown": {"default": 2.5, "another": 9}}')
    queue = await _queue(api, "q-shown")
    assert (queue["depth"], queue["running"], queue["workers"], queue["slots"]) == (2, 1, 1, 4)
    assert (queue["rate"], queue["paused_at"], queue["limits"]) == (2.5, None, [])
    assert queue["oldest_age"] >= 0


async def test_another_tenant_sees_nothing_of_what_waits(api: Api, other: str) -> None:
    await api.submit(queue="q-mine")
    items = (await api.get("/v1/queues", key=other)).json["items"]
    assert "q-mine" not in {each["queue"] for each in items}


async def test_a_queue_that_two_tenants_use_shows_each_its_own(api: Api, store: Store, other: str) -> None:
    theirs = [(await _submitted(api, other, queue="q-shared"))["id"] for _ in range(3)]
    await run(store, theirs[0])
    await run(store, (await api.submit(queue="q-shared")).json["id"])
    await api.submit(queue="q-shared")
    mine = await _queue(api, "q-shared")
    assert (mine["depth"], mine["running"]) == (1, 1)
    # And of one in which only another's task runs, and nobody serves, not even the name.
    await run(store, (await _submitted(api, other, queue="q-theirs"))["id"])
    assert await _queue(api, "q-theirs") is None


async def _submitted(api: Api, by: str, **members: Any) -> Any:
    answer = await api.post("/v1/tasks", json={"type": "demo.free", **members}, key=by)
    assert answer.status == 202
    return answer.json


async def test_a_queue_is_paused_and_resumed_and_repeating_it_changes_nothing(api: Api, store: Store) -> None:
    await _beat(store, "q-paused")
    first = await api.post("/v1/queues/q-paused/pause")
    again = await api.post("/v1/queues/q-paused/pause")
    assert first.status == 200
    assert first.json == again.json
    assert (await _queue(api, "q-paused"))["paused_at"] == first.json["paused_at"]
    task = (await api.submit(queue="q-paused")).json["id"]
    found = await _explained(api, task)
    assert (found["reason"], found["paused_at"]) == ("paused", first.json["paused_at"])
    await api.post("/v1/queues/q-paused/resume")
    assert (await _queue(api, "q-paused"))["paused_at"] is None
    assert (await _explained(api, task))["reason"] == "starting"


async def test_limits_are_set_shown_and_ended(api: Api) -> None:
    body = {"concurrency": 3, "rate": {"count": 10, "per": 60}}
    assert (await api.call("PUT", "/v1/queues/q-limited/limits", json=body)).status == 200
    assert (await api.call("PUT", "/v1/limits", json={"scope": "key", "concurrency": 1})).json["name"] is None
    shown = {(each["scope"], each["name"]): each for each in (await api.get("/v1/limits")).json["items"]}
    assert shown["queue", "q-limited"]["concurrency"] == 3
    assert shown["queue", "q-limited"]["rate"] == {"count": 10, "per": 60}
    assert shown["key", None]["concurrency"] == 1
    assert (await _queue(api, "q-limited"))["limits"][0]["concurrency"] == 3
    await api.call("PUT", "/v1/limits", json={"scope": "key"})
    assert [each["scope"] for each in (await api.get("/v1/limits")).json["items"]] == ["queue"]


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "queue", "concurrency": 1},
        {"scope": "type", "concurrency": 1},
        {"scope": "key", "name": "k", "concurrency": -1},
        {"scope": "key", "rate": {"count": 0, "per": 1}},
        {"scope": "key", "rate": {"count": 1}},
        {"scope": "key", "all_tenants": True, "concurrency": 1},
        {"scope": "planet", "concurrency": 1},
        {"scope": "key", "owner": "*", "concurrency": 1},
    ],
)
async def test_what_is_no_limit_is_refused_and_changes_nothing(api: Api, body: dict[str, Any], pool: Pool) -> None:
    answer = await api.call("PUT", "/v1/limits", json=body)
    assert (answer.status, answer.kind) == (422, "invalid-request")
    assert await pool.fetchval("select count(*) from milepost.limits") == 0


async def test_what_holds_for_all_tenants_and_for_a_tenant_is_for_the_installations_own(
    api: Api, other: str, pool: Pool
) -> None:
    asked = [
        ("POST", "/v1/queues/q-all/pause?tenants=all", None),
        ("PUT", "/v1/queues/q-all/limits?tenants=all", {"concurrency": 1}),
        ("PUT", "/v1/limits", {"scope": "type", "name": "demo.count", "concurrency": 1, "all_tenants": True}),
        ("PUT", "/v1/limits", {"scope": "tenant", "name": "other", "concurrency": 1}),
        ("PUT", "/v1/limits", {"scope": "tenant", "name": "third", "concurrency": 1}),
    ]
    for method, path, body in asked:
        answer = await api.call(method, path, key=other, json=body)
        assert (answer.status, answer.kind) == (403, "forbidden")
    assert await pool.fetchval("select count(*) from milepost.limits") == 0
    for method, path, body in asked:
        assert (await api.call(method, path, json=body)).status == 200
    theirs = (await api.get("/v1/limits", key=other)).json["items"]
    assert {(each["scope"], each["name"], each["all_tenants"]) for each in theirs} == {
        ("queue", "q-all", True),
        ("type", "demo.count", True),
        ("tenant", "other", False),
    }


async def test_pauses_and_limits_of_one_tenant_hold_no_other(api: Api, other: str) -> None:
    await api.post("/v1/queues/q-mine/pause")
    await api.call("PUT", "/v1/limits", json={"scope": "key", "name": "k", "concurrency": 0})
    assert (await api.get("/v1/limits", key=other)).json["items"] == []


async def test_a_name_that_is_no_queue_is_refused(api: Api) -> None:
    for name in ("a%20b", "mail.high", "x" * 101):
        answer = await api.post(f"/v1/queues/{name}/pause")
        assert (answer.status, answer.kind) == (422, "invalid-request")


async def test_explain_says_when_a_task_is_due(api: Api) -> None:
    task = (await api.submit(queue="q-due", delay=3600)).json
    found = await _explained(api, task["id"])
    assert (found["reason"], found["due_at"]) == ("not_due", task["due_at"])


async def test_explain_says_that_nobody_is_there(api: Api, store: Store) -> None:
    task = (await api.submit(queue="q-none")).json["id"]
    found = await _explained(api, task)
    assert (found["reason"], found["workers"]) == ("no_worker", 0)
    await _beat(store, "q-none")
    assert (await _explained(api, task))["reason"] == "starting"


async def test_explain_gives_the_place_in_line_by_priority_and_age(api: Api, store: Store) -> None:
    await _beat(store, "q-line")
    low = (await api.submit(queue="q-line", priority="low")).json["id"]
    first = (await api.submit(queue="q-line")).json["id"]
    high = (await api.submit(queue="q-line", priority="high")).json["id"]
    places = {task: (await _explained(api, task))["position"] for task in (low, first, high)}
    assert places == {high: 1, first: 2, low: 3}
    assert (await _explained(api, low))["reason"] == "in_line"


async def test_explain_names_the_limit_and_who_holds_it(api: Api, store: Store, other: str) -> None:
    await _beat(store, "q-held")
    await api.call("PUT", "/v1/limits", json={"scope": "key", "concurrency": 1})
    one, two = [(await api.submit(queue="q-held", key="customer 7")).json["id"] for _ in range(2)]
    await store.claim(WORKER, 15.0, [Held(UUID(one), 0)])
    # Of another tenant, under the same name and no limit of ours.
    theirs = await _submitted(api, other, queue="q-held", key="customer 7")
    await store.claim(WORKER, 15.0, [Held(UUID(theirs["id"]), 0)])
    found = await _explained(api, two)
    assert found["reason"] == "limit"
    assert found["limit"]["held_by"] == [one]
    assert (found["limit"]["running"], found["limit"]["limit"]["name"]) == (1, "customer 7")
    assert "customer 7" in found["detail"]


async def test_explain_says_when_a_rate_lets_the_next_start(api: Api, store: Store, pool: Pool) -> None:
    await _beat(store, "q-rate")
    await api.call("PUT", "/v1/queues/q-rate/limits", json={"rate": {"count": 1, "per": 3600}})
    task = (await api.submit(queue="q-rate")).json["id"]
    await pool.execute("insert into milepost.paces values ('default', 'queue', 'q-rate', now() + interval '1 hour')")
    found = await _explained(api, task)
    assert found["reason"] == "limit"
    assert 3500 < found["limit"]["free_in"] <= 3600


async def test_explain_says_who_runs_a_task_and_until_when(api: Api, store: Store) -> None:
    await _beat(store, "q-runs")
    task = (await api.submit(queue="q-runs")).json["id"]
    await store.claim(WORKER, 15.0, [Held(UUID(task), 0)])
    found = await _explained(api, task)
    assert (found["reason"], found["lease"]["name"], found["lease"]["worker"]) == ("running", "w", str(WORKER))
    await run(store, (over := (await api.submit(queue="q-runs")).json["id"]), TaskState.SUCCEEDED, result="1")
    assert (await _explained(api, over))["reason"] == "over"


async def test_nobody_explains_another_tenants_task_or_none(api: Api, foreign: str) -> None:
    for task in (foreign, str(uuids.uuid7()), "no-id"):
        answer = await api.get(f"/v1/tasks/{task}/explain")
        assert (answer.status, answer.kind) == (404, "not-found")


async def test_bodies_are_read_strictly(api: Api) -> None:
    answer = await api.call(
        "PUT", "/v1/limits", data=b'{"scope":"key","scope":"key"}', headers={"Content-Type": "application/json"}
    )
    assert answer.status == 400
    assert orjson.loads(answer.content)["status"] == 400


async def test_how_long_finished_tasks_are_kept_is_set_by_the_own_tenant_alone(
    api: Api, store: Store, other: str
) -> None:
    await _beat(store, "q-kept")
    path = "/v1/queues/q-kept/retention"
    default = {"finished": 30 * 86400, "failed": 90 * 86400}
    assert (await _queue(api, "q-kept"))["retention"] == default
    answer = await api.call("PUT", path, json={"finished": 7200, "failed": "forever"})
    assert answer.json == (await _queue(api, "q-kept"))["retention"] == {"finished": 7200, "failed": "forever"}
    assert (await api.call("PUT", path, json={"failed": 9000})).json == {**default, "failed": 9000}
    assert (await api.call("PUT", path, json={}, key=other)).status == 403
    refused = await api.call("PUT", path, json={"finished": 60})
    assert (refused.status, refused.json["errors"][0]["path"]) == (422, "/finished/constrained-float")
    assert (await api.call("PUT", path, json={})).json == default


async def test_a_task_that_was_deleted_is_not_found_and_says_why(api: Api, pool: Pool) -> None:
    task = (await api.submit(queue="q-gone")).json["id"]
    await pool.execute("delete from milepost.tasks where id = $1", UUID(task))
    answer = await api.get(f"/v1/tasks/{task}")
    assert answer.status == 404
    assert "Finished tasks are deleted" in answer.json["detail"]
