"""What a tenant may take, and what it is told when it takes more."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost.store import Store
from milepost.store.keys import Keys
from milepost_schemas import TaskState
from tests.conftest import eventually
from tests.integration.api.keyholders import key_of, limited
from tests.integration.api.serving import Answer, Api, published, run, served
from tests.proxy import Proxy

TENANT, OWN = published("tenant"), published("own-quotas")
COUNT = {"type": "demo.count", "payload": {"to": 1}}
FAILURE = '{"type": "ValueError", "message": "no", "retryable": true, "fingerprint": "77777777777777aa"}'


@pytest.fixture
async def other(settings: Settings, api: Api) -> AsyncIterator[Api]:
    """Serve the API a second time, from the same database and Redis."""
    del api
    async with served(settings) as running:
        yield running


async def holds(*apis: Api, key: str) -> None:
    """Wait until a quota of requests holds everywhere. Asks with the key: that counts."""
    for api in apis:

        async def told(api: Api = api) -> bool:
            return "RateLimit-Policy" in (await api.get("/v1/types", key=key)).headers

        await eventually(told, "the quota is known", within_s=5)


def left(answer: Answer) -> int:
    found = re.fullmatch('"requests";r=([0-9]+);t=([0-9]+)', answer.headers["RateLimit"])
    assert found is not None, answer.headers["RateLimit"]
    return int(found[1])


async def test_quotas_are_set_listed_and_taken_back(api: Api) -> None:
    answer = await api.call("PUT", "/v1/tenants/set", json={"requests": 7, "requests_per": 5, "queued": 1})
    TENANT.validate(answer.json)
    assert answer.json["quotas"] == {"requests": 7, "requests_per": 5.0, "queued": 1, "queued_bytes": None}
    names: list[str] = []
    path: str | None = "/v1/tenants?limit=1"
    while path is not None:
        page = (await api.get(path)).json
        names += [one["name"] for one in page["items"]]
        path = None if page["next"] is None else f"/v1/tenants?limit=1&cursor={page['next']}"
    assert "set" in names
    assert names == sorted(set(names))
    answer = await api.call("PUT", "/v1/tenants/set", json={})
    assert answer.json["quotas"]["requests"] is None


@pytest.mark.parametrize(
    "asked",
    [[], {"requests": 0}, {"requests": 1.5}, {"queued": -1}, {"requests_per": 0}, {"slots": 1}, {"queued": "1"}],
)
async def test_what_is_no_quota_is_refused(api: Api, asked: Any) -> None:
    answer = await api.call("PUT", "/v1/tenants/wrong", json=asked)
    assert answer.status == 422
    assert (await api.call("PUT", "/v1/tenants/Wrong", json={})).status == 404


async def test_only_the_installations_own_admin_sets_quotas(api: Api) -> None:
    for key in (await key_of(api, "greedy"), await key_of(api, "default", "submit", "read", "operate")):
        assert (await api.call("PUT", "/v1/tenants/greedy", json={}, key=key)).status == 403
        assert (await api.get("/v1/tenants", key=key)).status == 403


async def test_who_asks_too_often_is_told_when_to_come_again(api: Api) -> None:
    key, free = await key_of(api, "often"), await key_of(api, "seldom")
    await limited(api, "often", requests=20, requests_per=7200)
    await holds(api, key=key)
    answers = [await api.get("/v1/types", key=key) for _ in range(20)]
    served_ = [answer for answer in answers if answer.status == 200]
    assert served_
    assert [left(answer) for answer in served_] == list(range(len(served_) - 1, -1, -1))
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"requests";q=20;w=7200'}
    refused = answers[-1]
    assert (refused.status, refused.kind) == (429, "too-many-requests")
    wait = int(refused.headers["Retry-After"])
    assert 1 <= wait <= 360
    assert refused.headers["RateLimit"] == f'"requests";r=0;t={wait}'
    # Whatever it asks for, and with a watch token too; but nobody else notices.
    assert (await api.post("/v1/tasks", json=COUNT, key=key)).status == 429
    for untouched in (await api.get("/v1/types", key=free), await api.get("/v1/types")):
        assert untouched.status == 200
        assert "RateLimit" not in untouched.headers


async def test_quotas_hold_from_the_first_request_with_a_key(api: Api) -> None:
    await limited(api, "from-the-start", requests=2, requests_per=7200, queued=0)
    key = await key_of(api, "from-the-start")
    answer = await api.post("/v1/tasks", json=COUNT, key=key)
    assert (answer.status, answer.kind) == (429, "quota-exceeded")
    assert answer.headers["RateLimit-Policy"] == '"requests";q=2;w=7200'


async def test_a_watch_token_counts_for_its_tenant(api: Api) -> None:
    await limited(api, "watching", requests=5, requests_per=7200)
    key = await key_of(api, "watching")
    token = (await api.post("/v1/watch-tokens", json={"feed": "tasks"}, key=key)).json["token"]
    statuses = [(await api.get("/v1/tasks", key=token)).status for _ in range(6)]
    assert statuses[-1] == 429
    assert (await api.get("/v1/types", key=key)).status == 429


async def test_who_is_not_let_in_takes_nothing_of_the_tenants_requests(api: Api) -> None:
    await limited(api, "drained", requests=10, requests_per=7200)
    key, may_not = await key_of(api, "drained"), await key_of(api, "drained", "read")
    token = (await api.post("/v1/watch-tokens", json={"feed": "tasks"}, key=key)).json["token"]
    before = left(await api.get("/v1/types", key=key))
    for _ in range(20):
        assert (await api.get("/v1/types", key=token)).status == 403
        assert (await api.post("/v1/tasks", json=COUNT, key=may_not)).status == 403
    assert left(await api.get("/v1/types", key=key)) == before - 1


async def test_requests_come_back_with_time(api: Api) -> None:
    key = await key_of(api, "patient")
    await limited(api, "patient", requests=4, requests_per=2)
    await holds(api, key=key)

    async def answered(status: int) -> bool:
        return (await api.get("/v1/types", key=key)).status == status

    while not await answered(429):
        pass
    await eventually(lambda: answered(200), "there is room again")


async def test_instances_share_what_a_tenant_may(api: Api, other: Api) -> None:
    key = await key_of(api, "both-ends")
    await limited(api, "both-ends", requests=60, requests_per=7200)
    await holds(api, other, key=key)
    before = left(await api.get("/v1/types", key=key))
    answers = await asyncio.gather(*(each.get("/v1/types", key=key) for _ in range(60) for each in (api, other)))
    let_in = [answer.status for answer in answers].count(200)
    # What one took ahead and did not use is lost to the other, a tenth of the bucket at most.
    assert before - 6 <= let_in <= 60
    assert {answer.status for answer in answers} == {200, 429}


async def test_while_redis_is_away_nobody_is_refused_and_that_is_said_once(
    settings: Settings, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    key, rich = await key_of(api, "no-redis"), await key_of(api, "no-redis-rich")
    await limited(api, "no-redis", requests=3, requests_per=7200)
    await limited(api, "no-redis-rich", requests=1000, requests_per=7200)
    host, _, port = settings.redis_url.get_secret_value().rpartition("@")[2].partition("/")[0].partition(":")
    proxy = Proxy(host, int(port))
    await proxy.listen()
    url = settings.redis_url.get_secret_value().replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}")
    try:
        async with served(settings.model_copy(update={"redis_url": SecretStr(url)})) as cut_off:
            await holds(cut_off, key=key)
            await holds(cut_off, key=rich)

            async def not_limited() -> bool:
                answer = await cut_off.get("/v1/types", key=rich)
                assert answer.status == 200, "not even who finds out that it is away"
                return "RateLimit" not in answer.headers

            async def answered(status: int) -> bool:
                return (await cut_off.get("/v1/types", key=key)).status == status

            while not await answered(429):
                pass
            capsys.readouterr()
            await proxy.refuse()
            await eventually(not_limited, "it is found to be away")
            await eventually(lambda: answered(200), "nobody is refused")
            for _ in range(20):
                answer = await cut_off.get("/v1/types", key=key)
                assert answer.status == 200
                assert "RateLimit" not in answer.headers
            assert capsys.readouterr().out.count("Redis is away") == 1
            await proxy.listen()
            await eventually(lambda: answered(429), "requests are limited again")
    finally:
        await proxy.refuse()


async def test_so_many_tasks_may_wait(api: Api, store: Store) -> None:
    key = await key_of(api, "queue-up")
    await limited(api, "queue-up", queued=3)
    accepted: list[str] = []

    async def full() -> bool:
        answer = await api.post("/v1/tasks", json=COUNT, key=key)
        if answer.status == 202:
            accepted.append(answer.json["id"])
        return answer.status == 429

    await eventually(full, "the quota holds")
    answer = await api.post("/v1/tasks", json={**COUNT, "delay": 60}, key=key)
    assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (429, "quota-exceeded", "5")
    assert "3 tasks" in answer.json["detail"]
    batch = await api.post("/v1/tasks/batch", json={"tasks": [COUNT] * 2}, key=key)
    assert [result["status"] for result in batch.json["results"]] == [429, 429]
    assert (await api.post("/v1/tasks", json=COUNT)).status == 202, "others are not touched"
    # All: a few more than the quota may have got in until it was known and counted.
    for task in accepted:
        await run(store, task, TaskState.SUCCEEDED, result="1")

    async def room() -> bool:
        return (await api.post("/v1/tasks", json=COUNT, key=key)).status == 202

    await eventually(room, "a task that is done makes room")


async def test_a_repeat_is_answered_whatever_waits(api: Api) -> None:
    await limited(api, "repeats", queued=1)
    key = await key_of(api, "repeats")
    same = {"Idempotency-Key": "same"}
    first = await api.post("/v1/tasks", json=COUNT, key=key, headers=same)
    assert first.status == 202
    assert (await api.post("/v1/tasks", json=COUNT, key=key)).status == 429
    again = await api.post("/v1/tasks", json=COUNT, key=key, headers=same)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json["id"] == first.json["id"]
    other = {**COUNT, "delay": 1}
    answer = await api.post("/v1/tasks", json=other, key=key, headers=same)
    assert (answer.status, answer.kind) == (422, "idempotency-key-reused")
    answer = await api.post("/v1/tasks", json=COUNT, key=key, headers={"Idempotency-Key": "new"})
    assert (answer.status, answer.kind) == (429, "quota-exceeded")
    items = [{**COUNT, "idempotency_key": name} for name in ("same", "new")]
    batch = (await api.post("/v1/tasks/batch", json={"tasks": items}, key=key)).json["results"]
    assert [result["status"] for result in batch] == [202, 429]
    assert (batch[0]["replayed"], batch[0]["task"]["id"]) == (True, first.json["id"])


async def test_what_is_tried_again_is_counted_like_what_is_new(api: Api, store: Store) -> None:
    key = await key_of(api, "again")
    failed, cancelled, small = [(await api.post("/v1/tasks", json=COUNT, key=key)).json["id"] for _ in range(3)]
    await run(store, failed, TaskState.FAILED, error=FAILURE)
    await run(store, small, TaskState.FAILED, error=FAILURE)
    await api.post(f"/v1/tasks/{cancelled}/cancel", key=key)
    await limited(api, "again", queued=2)
    waiting: list[str] = []

    async def full() -> bool:
        answer = await api.post("/v1/tasks", json=COUNT, key=key)
        waiting.extend([answer.json["id"]] if answer.status == 202 else [])
        return answer.status == 429

    await eventually(full, "the quota holds")
    again: list[tuple[str, Any]] = [(f"/v1/tasks/{id_}/retry", None) for id_ in (failed, cancelled)]
    again += [("/v1/dead-letters/replay", more) for more in ({"ids": [failed]}, {"all": True, "rate": 1})]
    for path, body in again:
        answer = await api.post(path, json=body, key=key)
        assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (429, "quota-exceeded", "5"), path
    tasks = [(await api.get(f"/v1/tasks/{id_}", key=key)).json["state"] for id_ in (failed, cancelled)]
    assert tasks == ["failed", "cancelled"]
    assert await store._pool.fetch("select from milepost.replays where tenant = 'again'") == [], "it left something"
    answer = await api.post("/v1/dead-letters/replay", json={"all": True, "dry_run": True}, key=key)
    assert (answer.status, answer.json["count"]) == (200, 2), "asking costs nothing"

    for id_ in waiting:
        await run(store, id_, TaskState.SUCCEEDED, result="1")

    async def room() -> bool:
        return (await api.post(f"/v1/tasks/{cancelled}/retry", key=key)).status == 202

    await eventually(room, "tasks that are done make room")
    assert (await api.post(f"/v1/tasks/{cancelled}/retry", key=key)).status == 200, "it waits: that takes no room"
    answer = await api.post("/v1/dead-letters/replay", json={"all": True}, key=key)
    assert (answer.status, "2 tasks" in answer.json["detail"]) == (429, True), "all or none"

    async def one_more() -> bool:  # what was stored during a count counts twice until the next
        answer = await api.post("/v1/dead-letters/replay", json={"all": True, "limit": 1}, key=key)
        return answer.status == 200 and answer.json["count"] == 1

    await eventually(one_more, "there is room for one")
    # Those that were made before there was a quota too.
    assert (await Keys(store._pool).waiting([("again", None)]))["again"] == (2, 2 * len(b'{"to":1}'))


async def test_so_many_bytes_may_wait(api: Api) -> None:
    key = await key_of(api, "bytes")
    await limited(api, "bytes", queued_bytes=1000)
    large = {"type": "demo.free", "payload": {"text": "é" * 200}}

    async def full() -> bool:
        return (await api.post("/v1/tasks", json=large, key=key)).status == 429

    await eventually(full, "the quota holds")
    answer = await api.post("/v1/tasks", json=large, key=key)
    assert (answer.status, answer.kind) == (429, "quota-exceeded")
    assert "411 bytes" in answer.json["detail"]

    async def fits() -> bool:  # not at once for sure: what was stored during a count is counted twice until the next
        return (await api.post("/v1/tasks", json={"type": "demo.free"}, key=key)).status == 202

    await eventually(fits, "what is small enough to be let in")


async def test_a_batch_is_counted_task_by_task(api: Api) -> None:
    key = await key_of(api, "in-bulk")
    await limited(api, "in-bulk", queued=5)

    async def known() -> bool:
        answer = await api.post("/v1/tasks/batch", json={"tasks": [COUNT] * 10}, key=key)
        return 429 in [result["status"] for result in answer.json["results"]]

    await eventually(known, "the quota holds")
    batch = await api.post("/v1/tasks/batch", json={"tasks": [COUNT, {"type": "no.such"}]}, key=key)
    assert [result["problem"]["type"].rpartition("/")[2] for result in batch.json["results"]] == [
        "quota-exceeded",
        "unknown-type",
    ]


async def test_the_settings_say_what_holds_for_all(settings: Settings, api: Api) -> None:
    key = await key_of(api, "by-default")
    async with served(settings.model_copy(update={"quota_requests": 4, "quota_requests_per": 7200.0})) as strict:
        statuses = [(await strict.get("/v1/types", key=key)).status for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        assert (await strict.call("PUT", "/v1/tenants/generous", json={})).json["quotas"]["requests"] == 4


async def test_a_tenant_sees_what_it_may_take_and_what_is_taken(api: Api) -> None:
    await limited(api, "looks", requests=50, requests_per=7200, queued=3)
    key = await key_of(api, "looks", "submit", "read")
    answer = await api.get("/v1/quotas", key=key)
    OWN.validate(answer.json)
    assert answer.json["tenant"] == "looks"
    assert answer.json["quotas"] == {"requests": 50, "requests_per": 7200.0, "queued": 3, "queued_bytes": None}
    assert answer.json["used"] == {"requests": 50 - left(answer), "queued": 0, "queued_bytes": None}
    await api.post("/v1/tasks", json=COUNT, key=key)
    answer = await api.get("/v1/quotas", key=key)
    # What was stored during a count counts twice until the next.
    assert answer.json["used"]["queued"] in {1, 2}
    assert answer.json["used"]["requests"] == 50 - left(answer)
    assert (await api.get("/v1/quotas", key=await key_of(api, "looks", "submit"))).status == 403
    free = (await api.get("/v1/quotas")).json
    assert free["used"] == {"requests": None, "queued": None, "queued_bytes": None}
