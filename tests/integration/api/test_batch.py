"""POST /v1/tasks/batch."""

import asyncio
import io
from typing import Any

import orjson

from milepost.store import Filters, Store
from milepost.store.connection import Pool
from tests.integration.api.serving import Answer, Api, without_token

GOOD = {"type": "demo.count", "payload": {"to": 1}}

DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"


async def test_each_task_is_accepted_or_refused_on_its_own_and_in_order(api: Api) -> None:
    items = [
        GOOD,
        {"type": "demo.nothing"},
        GOOD | {"payload": {}},
        GOOD | {"delay": 60},
        "text",
        GOOD | {"tenant": "other"},
        GOOD | {"idempotency_key": ""},
        GOOD | {"idempotency_key": "in a batch"},
        GOOD | {"idempotency_key": "in a batch"},
        GOOD | {"idempotency_key": "in a batch", "queue": "other"},
    ]
    answer = await api.post("/v1/tasks/batch", json={"tasks": items})
    assert answer.status == 200
    results = answer.json["results"]
    kinds = [r["problem"]["type"].rpartition("/")[2] if "problem" in r else r["task"]["state"] for r in results]
    assert kinds == [
        "queued",
        "unknown-type",
        "invalid-payload",
        "scheduled",
        "invalid-request",
        "invalid-request",
        "invalid-request",
        "queued",
        "queued",
        "idempotency-key-reused",
    ]
    assert [result["status"] for result in results] == [202, 422, 422, 202, 422, 422, 422, 202, 202, 422]
    assert results[7]["task"] == results[8]["task"]
    assert [results[7]["replayed"], results[8]["replayed"]] == [False, True]


async def test_a_key_of_a_batch_is_the_key_of_a_single_submission(api: Api) -> None:
    batch = await api.post("/v1/tasks/batch", json={"tasks": [GOOD | {"idempotency_key": "shared"}]})
    single = await api.submit(payload={"to": 1}, headers={"Idempotency-Key": "shared"})
    assert single.headers["Idempotent-Replayed"] == "true"
    assert without_token(single.json) == batch.json["results"][0]["task"]


async def test_a_thousand_tasks_are_stored_at_once(api: Api, store: Store) -> None:
    items = [GOOD | {"labels": {"batch": "thousand"}} for _ in range(1000)]
    answer = await api.post("/v1/tasks/batch", json={"tasks": items})
    ids = [result["task"]["id"] for result in answer.json["results"]]
    assert len(set(ids)) == 1000
    rows = await store.find("default", Filters(labels={"batch": "thousand"}, limit=1001))
    assert {str(row["id"]) for row in rows} == set(ids)


async def test_batches_that_share_keys_in_opposite_order_do_not_block_each_other(api: Api, pool: Pool) -> None:
    before = await pool.fetch(DEADLOCKS)
    items = [GOOD | {"idempotency_key": f"opposite {n}"} for n in range(300)]
    orders = [items, items[::-1]] * 4
    answers = await asyncio.gather(*(_sent_until_taken(api, order) for order in orders))
    results = [result for answer in answers for result in answer.json["results"]]
    assert {result["status"] for result in results} == {202}
    assert len({result["task"]["id"] for result in results}) == 300
    assert await pool.fetch(DEADLOCKS) == before


async def _sent_until_taken(api: Api, items: list[Any]) -> Answer:
    """A machine that is busy enough does not get to a batch in time (503); with its keys it is safe to send again."""
    while (answer := await api.post("/v1/tasks/batch", json={"tasks": items})).status == 503:
        await asyncio.sleep(float(answer.headers["retry-after"]))
    return answer


async def test_what_is_not_a_batch_is_refused_as_a_whole(api: Api) -> None:
    documents: list[Any] = [[], {}, {"tasks": []}, {"tasks": [GOOD] * 1001}, {"tasks": [GOOD], "all_or_nothing": True}]
    for document in documents:
        answer = await api.post("/v1/tasks/batch", json=document)
        assert (answer.status, answer.kind) == (422, "invalid-request")


def large(items: list[Any]) -> io.BytesIO:
    """Return a batch in a form that aiohttp sends with a length, in pieces."""
    return io.BytesIO(orjson.dumps({"tasks": items}))


async def test_a_batch_may_be_larger_than_a_single_body(api: Api) -> None:
    item = {"type": "demo.free", "payload": {"text": "x" * 100_000}}
    answer = await api.raw(large([item] * 20), "/v1/tasks/batch")
    assert {result["status"] for result in answer.json["results"]} == {202}
    answer = await api.raw(large([item] * 84), "/v1/tasks/batch")
    assert (answer.status, answer.kind) == (413, "too-large")
