"""POST /v1/tasks/{id}/retry and GET /v1/tasks/{id}/attempts."""

import asyncio
from uuid import UUID

import pytest

from milepost.domain.grant import Grant
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost.store import Held, Store
from milepost.store.connection import Pool
from milepost_schemas import TaskState
from tests.integration.api.serving import Api, run

ERROR = '{"type": "ValueError", "message": "the disc is full", "retryable": false}'


async def test_a_failed_task_runs_again_from_the_start(api: Api, store: Store, settings: Settings) -> None:
    task = (await api.submit()).json
    await run(store, task["id"], TaskState.FAILED, error=ERROR)
    answer = await api.post(f"/v1/tasks/{task['id']}/retry")
    assert (answer.status, answer.headers["Location"]) == (202, task["links"]["self"])
    again = answer.json
    assert (again["state"], again["epoch"], again["attempt"], again["error"]) == ("queued", 2, 0, None)
    verified = Tokens.of(settings).verify(again.pop("watch_token"))
    assert verified is not None
    assert verified.grant == Grant(task=UUID(task["id"]))
    assert (await api.get(task["links"]["self"])).json == again
    (claimed,) = await store.claim(UUID(int=7), 60.0, [Held(UUID(task["id"]), 2)])
    assert claimed.payload == '{"to":3}'


async def test_a_cancelled_task_runs_again_too(api: Api) -> None:
    task = (await api.submit()).json
    await api.post(task["links"]["cancel"])
    assert (await api.post(f"/v1/tasks/{task['id']}/retry")).json["state"] == "queued"


async def test_a_task_can_be_retried_before_its_completion_was_published_and_that_stays(
    api: Api, store: Store, pool: Pool
) -> None:
    task = (await api.submit()).json
    await run(store, task["id"], TaskState.FAILED, error=ERROR)
    assert (await api.post(f"/v1/tasks/{task['id']}/retry")).status == 202
    waiting = "select epoch from milepost.outbox where task_id = $1"
    assert await pool.fetchval(waiting, UUID(task["id"])) == 1
    rows = [row for row in await store.take_outbox(0, 1000, hold_s=0) if str(row["id"]) == task["id"]]
    assert [(row["epoch"], row["state"], row["error"]) for row in rows] == [(1, "failed", ERROR)]


async def test_two_retries_at_once_make_one(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    await run(store, task["id"], TaskState.FAILED, error=ERROR)
    answers = await asyncio.gather(*(api.post(f"/v1/tasks/{task['id']}/retry") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 202]
    assert {answer.json["epoch"] for answer in answers} == {2}


async def test_what_is_not_over_and_what_succeeded_is_refused_with_its_state(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    path = f"/v1/tasks/{task['id']}/retry"

    async def refused() -> str:
        answer = await api.post(path)
        assert (answer.status, answer.kind) == (409, "wrong-state")
        return str(answer.json["detail"])

    assert "is queued" in await refused()
    await run(store, task["id"])
    assert "is running" in await refused()
    done = (await api.submit()).json
    await run(store, done["id"], TaskState.SUCCEEDED, result="1")
    path = f"/v1/tasks/{done['id']}/retry"
    assert "has succeeded" in await refused()


@pytest.mark.parametrize(("method", "path"), [("POST", "retry"), ("GET", "attempts")])
async def test_tasks_of_others_are_not_found(api: Api, foreign: str, method: str, path: str) -> None:
    answer = await api.call(method, f"/v1/tasks/{foreign}/{path}")
    assert (answer.status, answer.kind) == (404, "not-found")


async def test_attempts_of_a_task_stay_over_its_retries(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    path = f"/v1/tasks/{task['id']}/attempts"
    assert (await api.get(path)).json == {"items": []}
    await run(store, task["id"], TaskState.FAILED, error=ERROR)
    (only,) = (await api.get(path)).json["items"]
    assert (only["outcome"], only["attempt"], only["epoch"]) == ("failed", 1, 1)
    assert only["error"]["message"] == "the disc is full"
    await api.post(f"/v1/tasks/{task['id']}/retry")
    assert (await api.get(path)).json["items"] == [only]
