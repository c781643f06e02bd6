"""POST /v1/tasks/{id}/cancel."""

from uuid import UUID

import pytest

from milepost.store import Store
from milepost.store.connection import Pool
from milepost_schemas import TaskState
from tests.integration.api.serving import Api, run


@pytest.mark.parametrize("delay", [0, 600])
async def test_a_task_nobody_runs_is_cancelled_at_once(api: Api, pool: Pool, delay: int) -> None:
    task = (await api.submit(delay=delay)).json
    answer = await api.post(task["links"]["cancel"])
    assert (answer.status, answer.json["state"], answer.json["epoch"]) == (202, "cancelled", 1)
    assert answer.headers["Location"] == task["links"]["self"]
    assert await pool.fetchval("select count(*) from milepost.outbox where task_id = $1", UUID(task["id"])) == 1
    again = await api.post(task["links"]["cancel"])
    assert (again.status, again.json) == (200, answer.json)
    result = await api.get(task["links"]["result"])
    assert (result.status, "was cancelled" in result.json["detail"]) == (409, True)


async def test_a_running_task_is_asked_to_stop(api: Api, store: Store) -> None:
    task = (await api.submit()).json
    await run(store, task["id"])
    for _ in range(2):
        answer = await api.post(task["links"]["cancel"])
        assert (answer.status, answer.json["state"]) == (202, "running")
    row = await store.get("default", UUID(task["id"]))
    assert row is not None
    assert row["cancel_requested_at"] is not None


@pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED])
async def test_a_finished_task_cannot_be_cancelled(api: Api, store: Store, state: TaskState) -> None:
    task = (await api.submit()).json
    await run(store, task["id"], state)
    answer = await api.post(task["links"]["cancel"])
    assert (answer.status, answer.kind) == (409, "wrong-state")
    assert (await api.get(task["links"]["self"])).json["state"] == state
