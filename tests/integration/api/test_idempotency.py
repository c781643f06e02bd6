"""One task for one idempotency key, however many ask at once and wherever."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from milepost.runtime.settings import Settings
from milepost.store.connection import Pool
from tests.integration.api.keyholders import key_of
from tests.integration.api.serving import Api, served, without_token

ROUNDS = 50
AT_ONCE = 100


@pytest.fixture
async def other(settings: Settings, api: Api) -> AsyncIterator[Api]:
    """Serve the API a second time, from the same database."""
    del api
    async with served(settings) as running:
        yield running


async def test_a_hundred_equal_submissions_at_once_make_one_task(api: Api, other: Api, pool: Pool) -> None:
    tenants = ("equal", "equal-too")
    keys = [await key_of(api, tenant) for tenant in tenants]
    body = {"type": "demo.count", "payload": {"to": 1}}
    for number in range(ROUNDS):
        headers = {"Idempotency-Key": f"round-{number}"}
        asked = [
            (api, other)[each % 2].post("/v1/tasks", json=body, headers=headers, key=keys[each % 3 // 2])
            for each in range(AT_ONCE)
        ]
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} == {202}
        tasks = {answer.json["id"]: without_token(answer.json) for answer in answers}
        assert len(tasks) == len(keys), "one of each tenant"
        replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
        assert replayed.count("true") == AT_ONCE - len(keys)
        assert all(without_token(answer.json) == tasks[answer.json["id"]] for answer in answers)
    rows = await pool.fetch("select tenant, count(*) as n from milepost.tasks where tenant like 'equal%' group by 1")
    assert {row["tenant"]: row["n"] for row in rows} == dict.fromkeys(tenants, ROUNDS)
