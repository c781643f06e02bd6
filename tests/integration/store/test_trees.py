"""Cancelling what is below a task, while others act on it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuid_utils

from milepost.store.connection import Pool
from milepost.store.store import sql
from milepost_api.trees import Trees
from milepost_schemas import TaskState
from tests.conftest import eventually
from tests.integration.store.conftest import new_task, row_of
from tests.integration.store.simulation.hands import Heard
from tests.integration.store.simulation.journal import AllOfIt

pytestmark = pytest.mark.stack


async def test_what_is_below_a_task_that_is_replayed_while_it_is_cancelled_again_goes_on(pool: Pool) -> None:
    store, heard = AllOfIt(pool), Heard()
    announcer: Any = heard
    root = new_task()
    child = new_task(parent_id=root.id)
    await store.submit([root, child])
    await store.cancel("default", root.id)
    await Trees(store, announcer).at_once("default", root.id)
    assert [row["id"] for row in heard.over] == [child.id]
    async with pool.acquire() as other:
        async with other.transaction():
            assert await other.fetch(sql("cancel"), "default", root.id)
            states = [TaskState.CANCELLED]
            replay = asyncio.create_task(store.replay("default", [root.id], uuid_utils.uuid7(), states=states))

            async def waits() -> bool:
                return bool(
                    await pool.fetchval(
                        "select count(*) from pg_stat_activity where datname = current_database()"
                        " and wait_event_type = 'Lock'"
                    )
                )

            await eventually(waits, "the replay to wait for whoever cancels")
        assert len(await replay) == 1
    await store.submit([late := new_task(parent_id=root.id)])
    await Trees(store, announcer).at_once("default", root.id)
    assert (await row_of(store, root.id))["state"] == "queued"
    assert (await row_of(store, late.id))["state"] == "queued"
    assert not await pool.fetch("select from milepost.cancellations where task_id = $1", root.id)


async def test_a_replayed_task_that_is_cancelled_once_more_takes_what_is_below_along(pool: Pool) -> None:
    store, heard = AllOfIt(pool), Heard()
    announcer: Any = heard
    root = new_task()
    await store.submit([root])
    await store.cancel("default", root.id)
    await store.replay("default", [root.id], uuid_utils.uuid7(), states=[TaskState.CANCELLED])
    await store.submit([child := new_task(parent_id=root.id)])
    assert await store.cancel("default", root.id)
    await store.cancellation_void(root.id)
    await Trees(store, announcer).at_once("default", root.id)
    assert (await row_of(store, child.id))["state"] == "cancelled"


async def test_nobody_sees_or_cancels_what_is_below_another_tenants_task(pool: Pool) -> None:
    store = AllOfIt(pool)
    root = new_task()
    child = new_task(parent_id=root.id)
    await store.submit([root, child])
    assert await store.cancel_children("other", [(root.id, UUID(int=0))], 10) == []
    assert (await row_of(store, child.id))["state"] == "queued"
    assert await store.children([("other", root.id)], 10) == []
    assert [each.id for each in await store.children([("default", root.id)], 10)] == [child.id]
    assert await store.task_views([("other", root.id), ("other", child.id)]) == []
    for tenant, seen in (("default", {(child.id, root.id)}), ("other", set())):
        assert await store.descendants_among(tenant, [(child.id, root.id)]) == seen
