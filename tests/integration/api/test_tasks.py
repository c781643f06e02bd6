"""Reading tasks: one, its result, lists."""

from uuid import UUID

import orjson
import pytest
import uuid_utils.compat as uuids
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost.store import Filters, NewTask, Store
from milepost.store.connection import Pool
from milepost_api.cursors import Cursors
from milepost_schemas import Priority, TaskState
from tests.integration.api.serving import Api, run


async def test_an_etag_holds_until_the_task_changes(api: Api, store: Store, pool: Pool) -> None:
    task = (await api.submit()).json
    path = task["links"]["self"]
    first = await api.get(path)
    etag = first.headers["ETag"]
    same = await api.get(path, headers={"If-None-Match": f'"other", {etag}'})
    assert (same.status, same.content, same.headers["ETag"]) == (304, b"", etag)
    await run(store, task["id"])
    running = await api.get(path, headers={"If-None-Match": etag})
    assert (running.status, running.json["state"]) == (200, "running")
    progress = '{"done": 1.0, "total": 3.0, "unit": null, "message": null, "rate": null, "eta": null}'
    await pool.execute("update milepost.tasks set progress = $2::json where id = $1", UUID(task["id"]), progress)
    renewed = await api.get(path, headers={"If-None-Match": running.headers["ETag"]})
    assert (renewed.status, renewed.json["progress"]["done"]) == (200, 1)


async def test_ids_that_lead_nowhere_are_not_found_and_look_alike(api: Api, foreign: str) -> None:
    problems = []
    for unknown in (str(uuids.uuid7()), foreign):
        for method, path in (("GET", ""), ("GET", "/result"), ("POST", "/cancel")):
            answer = await api.call(method, f"/v1/tasks/{unknown}{path}")
            assert (answer.status, answer.kind) == (404, "not-found")
            problems.append(answer.json | {"trace_id": None})
    assert all(problem == problems[0] for problem in problems)


@pytest.mark.parametrize("text", ["17", "not-an-id", "%00", "{01a206cf-0715-75c4-8497-4ed4eee0dbe6}", "..%2f"])
async def test_what_is_no_id_is_not_found(api: Api, text: str) -> None:
    assert (await api.get(f"/v1/tasks/{text}")).status == 404


async def test_the_result_is_given_raw_once_the_task_succeeded(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    early = await api.get(task["links"]["result"])
    assert (early.status, early.kind, early.headers["Retry-After"]) == (409, "wrong-state", "1")
    await run(store, task["id"], TaskState.SUCCEEDED, result='{"count":  3}')
    answer = await api.get(task["links"]["result"])
    assert (answer.status, answer.content) == (200, b'{"count":  3}')
    assert (await api.get(task["links"]["self"])).json["result"] == {"count": 3}


async def test_a_large_result_is_only_at_its_own_address(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    large = orjson.dumps("x" * 70_000)
    await run(store, task["id"], TaskState.SUCCEEDED, result=large.decode())
    assert (await api.get(task["links"]["self"])).json["result"] is None
    assert (await api.get(task["links"]["result"])).content == large


async def test_a_failed_task_has_no_result_but_says_why(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    error = '{"type": "ValueError", "message": "the disc is full", "retryable": false}'
    await run(store, task["id"], TaskState.FAILED, error=error)
    answer = await api.get(task["links"]["result"])
    assert (answer.status, answer.kind) == (409, "wrong-state")
    assert "the disc is full" in answer.json["detail"]
    assert "Retry-After" not in answer.headers


async def _ids(api: Api, query: str) -> list[str]:
    return [item["id"] for item in (await api.get(f"/v1/tasks?{query}")).json["items"]]


async def test_filters_choose_tasks(api: Api, store: Store) -> None:
    mark = {"test": "filters"}
    queued = (await api.submit(labels=mark | {"n": "1"})).json
    scheduled = (await api.submit(labels=mark, delay=600)).json
    other = (await api.submit(type_="demo.free", labels=mark, queue="slow", parent_id=queued["id"])).json
    done = (await api.submit(labels=mark)).json
    await run(store, done["id"], TaskState.SUCCEEDED, result="1")
    expected = {
        "": [done, other, scheduled, queued],
        "state=queued": [other, queued],
        "state=scheduled,succeeded": [done, scheduled],
        "state=scheduled&state=succeeded": [done, scheduled],
        "type=demo.free": [other],
        "queue=slow": [other],
        "label=n%3D1": [queued],
        f"parent={queued['id']}": [other],
        f"created_before={other['created_at']}": [scheduled, queued],
        f"created_from={other['created_at']}": [done, other],
        "state=failed": [],
    }
    for query, tasks in expected.items():
        assert await _ids(api, f"label=test=filters&{query}") == [task["id"] for task in tasks], query


async def test_a_tree_is_listed_by_its_root_and_children_by_their_parent(api: Api) -> None:
    async def submitted(**options: str) -> str:
        return str((await api.submit("demo.free", {}, **options)).json["id"])

    root, stranger = await submitted(), await submitted()
    one = await submitted(parent_id=root, queue="slow")
    below = await submitted(parent_id=one)
    two = await submitted(parent_id=root)

    async def ids(path: str) -> list[str]:
        return [item["id"] for item in (await api.get(f"/v1/tasks{path}")).json["items"]]

    assert await ids(f"?root={root}") == [two, below, one, root]
    assert await ids(f"?root={root}&queue=slow&state=queued") == [one]
    assert await ids(f"?root={root}&parent={one}") == [below]
    assert await ids(f"?root={stranger}&parent={one}") == []
    assert await ids(f"?root={one}") == [], "it has a parent"
    assert await ids(f"/{root}/children") == [two, one]
    assert await ids(f"/{root}/children?queue=slow") == [one]
    assert await ids(f"/{stranger}/children") == []
    first = (await api.get(f"/v1/tasks?root={root}&limit=3")).json
    assert await ids(f"?root={root}&limit=3&cursor={first['next']}") == [root]
    first = (await api.get(f"/v1/tasks/{root}/children?limit=1")).json
    assert await ids(f"/{root}/children?limit=1&cursor={first['next']}") == [one]
    for query in (f"parent={one}", f"root={root}"):
        assert (await api.get(f"/v1/tasks/{root}/children?{query}")).status == 422


async def test_trees_of_another_tenant_are_in_no_list(api: Api, foreign: str) -> None:
    assert (await api.get(f"/v1/tasks?root={foreign}")).json["items"] == []
    assert (await api.get(f"/v1/tasks?parent={foreign}")).json["items"] == []
    assert (await api.get(f"/v1/tasks/{foreign}/children")).status == 404


POLLED = [
    "/v1/tasks", "/v1/tasks/{id}", "/v1/tasks/{id}/result", "/v1/tasks/{id}/children", "/v1/tasks/{id}/attempts",
    "/v1/dead-letters", "/v1/dead-letters/groups/0123456789abcdef", "/v1/types", "/v1/workers",
]  # fmt: skip


@pytest.mark.parametrize("path", POLLED)
async def test_who_asks_again_with_an_etag_is_told_only_what_is_new(api: Api, store: Store, path: str) -> None:
    task = (await api.submit("demo.free", {})).json["id"]
    await run(store, task, TaskState.SUCCEEDED, result="1")
    path = path.format(id=task)
    etag = (await api.get(path)).headers["ETag"]
    again = await api.get(path, headers={"If-None-Match": etag})
    assert (again.status, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert (await api.get(path, headers={"If-None-Match": '"another"'})).status == 200


async def test_a_list_has_another_etag_once_something_in_it_changed(api: Api) -> None:
    root = (await api.submit("demo.free", {})).json["id"]
    path = f"/v1/tasks/{root}/children"
    etag = (await api.get(path)).headers["ETag"]
    await api.submit("demo.free", {}, parent_id=root)
    assert (await api.get(path, headers={"If-None-Match": etag})).status == 200


async def test_every_get_that_may_be_polled_says_so(api: Api) -> None:
    said = {
        path
        for path, operations in api.document["paths"].items()
        if "304" in operations.get("get", {}).get("responses", {})
    }
    lists = {path for path, operations in api.document["paths"].items() if "get" in operations}
    health = {"/v1/livez", "/v1/readyz"}
    assert lists - said - health == {"/v1/keys", "/v1/tenants"}, "who looks at keys looks once"


async def test_a_list_does_not_carry_results(api: Api, store: Store) -> None:
    task = (await api.submit(labels={"test": "no results"})).json
    await run(store, task["id"], TaskState.SUCCEEDED, result="1")
    assert (await api.get("/v1/tasks?label=test=no results")).json["items"][0]["result"] is None


async def test_cursors_walk_over_all_tasks_once(api: Api, store: Store) -> None:
    tasks = [
        NewTask(uuids.uuid7(), "default", "demo.free", "walk", Priority.NORMAL, 1, "{}", labels='{"test": "walk"}')
        for _ in range(250)
    ]
    await store.submit(tasks)
    seen: list[str] = []
    query = path = "/v1/tasks?label=test=walk&limit=60"
    sizes = []
    while True:
        page = (await api.get(path)).json
        sizes.append(len(page["items"]))
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        path = f"{query}&cursor={page['next']}"
    assert sizes == [60, 60, 60, 60, 10]
    assert seen == [str(task.id) for task in reversed(tasks)]


async def test_a_last_page_that_is_full_says_so(api: Api) -> None:
    for _ in range(2):
        await api.submit(labels={"test": "full"})
    page = (await api.get("/v1/tasks?label=test=full&limit=2")).json
    assert (len(page["items"]), page["next"]) == (2, None)


async def test_a_cursor_that_was_not_signed_for_this_list_is_refused(api: Api) -> None:
    for _ in range(3):
        await api.submit(queue="signed")
    good = (await api.get("/v1/tasks?queue=signed&limit=1")).json["next"]
    flipped = ("B" if good[0] == "A" else "A") + good[1:]
    with_other_key = Cursors(_settings_with_key("another key")).sign("default", Filters(queue="signed"), uuids.uuid7())
    with_other_tenant = Cursors(_settings_with_key("mp_test_key_42"))
    foreign = with_other_tenant.sign("other", Filters(queue="signed"), uuids.uuid7())
    for cursor in (flipped, good[:-2], good + "AAAA", "", "é", "%00", "a" * 5000, with_other_key, foreign):
        answer = await api.get(f"/v1/tasks?queue=signed&cursor={cursor}")
        assert (answer.status, answer.kind) == (422, "invalid-request"), cursor
    answer = await api.get(f"/v1/tasks?queue=other&cursor={good}")
    assert answer.status == 422
    assert (await api.get(f"/v1/tasks?queue=signed&limit=2&cursor={good}")).status == 200


def _settings_with_key(key: str) -> Settings:
    return Settings(_env_file=None, api_key=SecretStr(key))


@pytest.mark.parametrize(
    "query",
    [
        "state=done", "type=a%00b", "type=a%20b", "queue=", "label=x", "label=%00=1", "label=a=1&label=a=2", "parent=1",
        "created_from=yesterday", "created_from=2026-01-01T00:00:00", "created_before=1767225600",
        "created_from=0001-01-01T00:00:00%2B23:00", "limit=0", "limit=201", "limit=-1", "limit=%D9%A3", "limit=1e1",
        "limit=1&limit=2", "sort=id", "token=x", "type=%ff", "&".join(["label=a=1"] * 200),
    ],
)  # fmt: skip
async def test_filters_that_cannot_be_used_are_refused(api: Api, query: str) -> None:
    answer = await api.get(f"/v1/tasks?{query}")
    assert (answer.status, answer.kind) == (422, "invalid-request")


async def test_another_tenants_tasks_are_in_no_list(api: Api, foreign: str) -> None:
    path = "/v1/tasks?type=demo.free&limit=200"
    while True:
        page = (await api.get(path)).json
        assert foreign not in {item["id"] for item in page["items"]}
        if page["next"] is None:
            break
        path = f"/v1/tasks?type=demo.free&limit=200&cursor={page['next']}"
