"""Cancelling a task cancels its descendants too."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from milepost.store import Finish, Held, NewTask, Store
from milepost.store.connection import Pool
from milepost.store.store import sql
from milepost_api.trees import BATCH
from milepost_schemas import Priority, TaskState
from tests.conftest import eventually
from tests.integration.api.serving import Api

WORKER = UUID(int=7)


class Forest:
    """Makes tasks below others, straight in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.root = uuids.uuid7()

    async def grow(self, parent: UUID | None, count: int = 1, **options: Any) -> list[UUID]:
        """Store children of a task (None: the root itself)."""
        values: dict[str, Any] = {"tenant": "default", "type": "demo.free", "queue": "trees", "payload": "{}"}
        values |= {"priority": Priority.NORMAL, "max_attempts": 1, **options}
        tasks = [
            NewTask(id=uuids.uuid7() if parent else self.root, parent_id=parent, root_id=self.root, **values)
            for _ in range(count)
        ]
        await self.store.submit(tasks)
        return [task.id for task in tasks]

    async def start(self, task: UUID) -> Held:
        """Run a queued task as a worker would."""
        (claimed,) = await self.store.claim(WORKER, 60.0, [Held(task, 0)])
        return claimed.held

    async def states(self, ids: list[UUID]) -> list[str]:
        """Return the states of tasks, in their order."""
        rows = await self.store.get_many([("default", id_) for id_ in ids])
        return [row["state"] for row in rows if row is not None]


@pytest.fixture
async def forest(store: Store) -> Forest:
    made = Forest(store)
    await made.grow(None)
    return made


async def test_all_descendants_end_or_are_asked_and_each_end_has_its_completion(
    api: Api, forest: Forest, pool: Pool
) -> None:
    children = await forest.grow(forest.root, BATCH + 50)
    (late,) = await forest.grow(forest.root, delay=600.0)
    (runs,) = await forest.grow(forest.root)
    (over,) = await forest.grow(forest.root)
    grandchildren = [*await forest.grow(children[3], 3), *await forest.grow(runs, 2), *await forest.grow(over, 2)]
    deep = await forest.grow(grandchildren[0], 2)
    await forest.start(runs)
    await forest.store.finish([Finish(await forest.start(over), 1, TaskState.SUCCEEDED, result="1")])
    (foreign,) = await forest.grow(forest.root, tenant="other")

    answer = await api.post(f"/v1/tasks/{forest.root}/cancel")
    assert (answer.status, answer.json["state"]) == (202, "cancelled")
    ended = [forest.root, *children, late, *grandchildren, *deep]
    assert set(await forest.states(ended)) == {"cancelled"}
    assert await forest.states([runs, over]) == ["running", "succeeded"]
    asked = "select cancel_requested_at is not null from milepost.tasks where id = $1"
    assert [await pool.fetchval(asked, id_) for id_ in (runs, over, foreign)] == [True, False, False]
    untold = (
        "select count(*) from milepost.outbox join milepost.tasks as t on t.id = task_id and t.epoch = outbox.epoch"
    )
    assert await pool.fetchval(f"{untold} where t.id = any($1::uuid[])", ended) == len(ended)

    again = await api.post(f"/v1/tasks/{forest.root}/cancel")
    assert (again.status, again.json) == (200, answer.json)
    assert await pool.fetchval(f"{untold} where t.id = any($1::uuid[])", ended) == len(ended)


@pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED])
async def test_a_parent_that_is_over_leaves_its_children_alone(api: Api, forest: Forest, state: TaskState) -> None:
    children = await forest.grow(forest.root, 2)
    await forest.store.finish([Finish(await forest.start(forest.root), 1, state)])
    assert (await api.post(f"/v1/tasks/{forest.root}/cancel")).status == 409
    assert await forest.states(children) == ["queued", "queued"]


async def test_a_child_of_before_the_parent_stopped_is_cancelled_too_and_then_nobody_looks_any_more(
    api: Api, forest: Forest, pool: Pool
) -> None:
    held = await forest.start(forest.root)
    assert (await api.post(f"/v1/tasks/{forest.root}/cancel")).json["state"] == "running"
    (child,) = await forest.grow(forest.root)
    await forest.store.finish([Finish(held, 1, TaskState.CANCELLED)])

    async def done() -> bool:
        # What was looked at is looked at again after a while; here that while is over.
        await pool.execute("update milepost.cancellations set taken_until = now() where task_id = $1", forest.root)
        left = await pool.fetchval("select count(*) from milepost.cancellations where task_id = $1", forest.root)
        return left == 0 and await forest.states([child]) == ["cancelled"]

    await eventually(done, "the child to be cancelled and the tree to be done")


async def test_a_tree_whose_api_died_after_the_first_commit_is_cancelled_by_another(
    api: Api, forest: Forest, pool: Pool
) -> None:
    del api  # serves, and so looks after trees
    children = await forest.grow(forest.root, 3)
    outcome = await forest.store.cancel("default", forest.root)
    assert outcome is not None
    assert outcome.tree
    assert await forest.states(children) == ["queued"] * 3
    await pool.execute("update milepost.cancellations set taken_until = now() where task_id = $1", forest.root)

    async def cancelled() -> bool:
        return await forest.states(children) == ["cancelled"] * 3

    await eventually(cancelled, "the children to be cancelled")


async def test_a_child_that_is_being_written_is_cancelled_after_that(api: Api, forest: Forest, pool: Pool) -> None:
    first, second = await forest.grow(forest.root, 2)
    async with pool.acquire() as connection, asyncio.timeout(20):
        async with connection.transaction():
            await connection.execute("select from milepost.tasks where id = $1 for update", first)
            asking = asyncio.create_task(api.post(f"/v1/tasks/{forest.root}/cancel"))

            async def others_are_over() -> bool:
                return await forest.states([second]) == ["cancelled"]

            await eventually(others_are_over, "the other child to be cancelled meanwhile")
            assert await forest.states([first]) == ["queued"]
        assert (await asking).status == 202
    assert await forest.states([first]) == ["cancelled"]


async def test_a_task_without_children_that_nobody_runs_leaves_nothing_to_look_after(
    api: Api, forest: Forest, pool: Pool
) -> None:
    await api.post(f"/v1/tasks/{forest.root}/cancel")
    assert await pool.fetchval("select count(*) from milepost.cancellations where task_id = $1", forest.root) == 0


async def test_a_retried_parent_is_looked_after_no_more(api: Api, forest: Forest, pool: Pool) -> None:
    await forest.grow(forest.root)
    await forest.store.cancel("default", forest.root)
    assert (await api.post(f"/v1/tasks/{forest.root}/retry")).status == 202
    assert await pool.fetchval("select count(*) from milepost.cancellations where task_id = $1", forest.root) == 0


async def test_children_are_looked_up_in_their_index(pool: Pool) -> None:
    some = f"array['{WORKER}']::uuid[]"
    # Of a table that fits on a page Postgres may as well read all of it.
    many = """
        insert into milepost.tasks (id, tenant, type, queue, priority, state, max_attempts, payload, root_id, parent_id)
        select gen_random_uuid(), 't', 'many', 'many', 0, 'succeeded', 1, '{}', root, root
        from (select gen_random_uuid() as root from generate_series(1, 200)) as r, generate_series(1, 10)
    """
    async with pool.acquire() as connection:
        undone = connection.transaction()
        await undone.start()
        try:
            await connection.execute(many)
            await connection.execute("analyze milepost.tasks")
            await connection.execute(f"prepare plan_of_children as {sql('cancel_children')}")
            rows = await connection.fetch(f"explain execute plan_of_children('t', {some}, {some}, 10)")
            await connection.execute("deallocate plan_of_children")
        finally:
            await undone.rollback()
    plan = "\n".join(row[0] for row in rows)
    assert "tasks_by_parent_in_order" in plan, plan
    assert "Seq Scan on tasks" not in plan, plan
