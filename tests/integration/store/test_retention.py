"""Old tasks go with all that is kept of them, and nothing goes that is still needed; on a real Postgres."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from milepost.store import Finish, Held, Limited, Retry
from milepost.store.connection import Pool
from milepost.store.deadletters import DeadLetters
from milepost.store.retention import Keep, Retention
from milepost.store.store import sql
from milepost.store.webhooks import Webhooks
from milepost_schemas import TaskState
from tests.integration.store.conftest import WORKER, new_task

pytestmark = pytest.mark.stack

HOUR = 3600.0
KEEP = Keep(HOUR, 10 * HOUR)
FAST = 1e6
EVERYTHING = (
    "milepost.tasks, milepost.attempts, milepost.outbox, milepost.cancellations, milepost.webhooks,"
    " milepost.deliveries, milepost.delivery_attempts, milepost.retention"
)


@pytest.fixture
async def retention(store: Limited, pool: Pool) -> AsyncIterator[Retention]:
    del store  # its tables are empty
    await pool.execute(f"truncate {EVERYTHING}")
    await pool.execute("update milepost.retention_pass set queue = null, finished_at = null, id = null, deleted = 0")
    yield Retention(pool)
    # What tasks left behind belongs to no task.
    left = await pool.fetchval(
        "select count(*) from milepost.attempts as a where not exists (select from milepost.tasks where id = a.task_id)"
    )
    assert left == 0


async def _ended(pool: Pool, *, hours: float, state: TaskState = TaskState.SUCCEEDED, **options: Any) -> UUID:
    """Have a task run and end, so long ago, its completion published."""
    task, store = new_task(**options), Limited(pool)
    await store.submit([task])
    (claimed,) = await store.claim(WORKER, 15.0, [Held(task.id, 0)])
    await store.finish([Finish(claimed.held, 1, state, error='{"type": "E"}' if state is TaskState.FAILED else None)])
    await store.delete_outbox([claimed.held])
    await _age(pool, task.id, hours)
    return task.id


async def _age(pool: Pool, task: UUID, hours: float) -> None:
    await pool.execute(
        "update milepost.tasks set finished_at = finished_at - $2 * interval '1 hour' where id = $1", task, hours
    )


async def _round(pool: Pool, keep: Keep = KEEP, limit: int = 100) -> int:
    """Go through all queues once, without the pauses between; return how many tasks were deleted."""
    deleted = 0
    while True:
        await pool.execute("update milepost.retention_pass set next_at = now()")
        batch = await Retention(pool).forget(keep, limit, FAST)
        assert batch is not None
        deleted += batch.deleted
        if batch.over:
            return deleted


async def _left(pool: Pool) -> set[UUID]:
    return {row["id"] for row in await pool.fetch("select id from milepost.tasks")}


@pytest.mark.usefixtures("retention")
async def test_what_ended_long_ago_goes_and_the_rest_stays(pool: Pool, store: Limited) -> None:
    old = [await _ended(pool, hours=2, queue=queue) for queue in ("a", "b", "a")]
    old.append(await _ended(pool, hours=2, state=TaskState.CANCELLED, queue="c"))
    old.append(await _ended(pool, hours=11, state=TaskState.FAILED))
    young = [await _ended(pool, hours=0.9), await _ended(pool, hours=9, state=TaskState.FAILED)]
    waiting = new_task()
    await store.submit([waiting])
    assert await _round(pool) == len(old)
    assert await _left(pool) == {*young, waiting.id}
    assert await pool.fetchval("select deleted from milepost.retention_pass") == len(old)
    assert await _round(pool) == 0


@pytest.mark.usefixtures("retention")
async def test_what_is_kept_of_a_task_goes_with_it(pool: Pool, store: Limited) -> None:
    task, hooks = new_task(idempotency_key="k", fingerprint=b"f"), Webhooks(pool)
    await hooks.add_webhook(
        "default", uuids.uuid7(), "https://a.example/", "s", description=None, types=None, states=None, labels=None
    )
    await store.submit([task])
    (claimed,) = await store.claim(WORKER, 15.0, [Held(task.id, 0)])
    await store.retry([Retry(claimed.held, 1, 0.0, "{}")])
    await store.due(10)
    (claimed,) = await store.claim(WORKER, 15.0, [Held(task.id, 2)])
    await store.finish([Finish(claimed.held, 1, TaskState.SUCCEEDED)])
    await store.delete_outbox([claimed.held])
    await _age(pool, task.id, 2)
    assert await _round(pool) == 0, "its webhook was not told yet"
    await pool.execute("update milepost.deliveries set state = 'delivered', ended_at = now()")
    delivery = await pool.fetchval("select id from milepost.deliveries")
    await pool.execute(
        "insert into milepost.delivery_attempts (delivery_id, attempt, at) values ($1, 1, now())", delivery
    )
    assert await pool.fetchval("select count(*) from milepost.attempts") == 1
    assert await _round(pool) == 1
    left = await pool.fetch(
        "select task_id from milepost.attempts union all select task_id from milepost.deliveries"
        " union all select delivery_id from milepost.delivery_attempts"
    )
    assert left == []
    again = new_task(idempotency_key="k", fingerprint=b"other")
    (submitted,) = await store.submit([again])
    assert (submitted.id, submitted.before) == (again.id, None)


async def test_a_queue_has_numbers_of_its_own(retention: Retention, pool: Pool) -> None:
    kept = await _ended(pool, hours=1000, queue="audit")
    failed = await _ended(pool, hours=3, state=TaskState.FAILED, queue="quick")
    also_kept = await _ended(pool, hours=3, queue="slow")
    await _ended(pool, hours=3, queue="other")
    await retention.set_retention("audit", math.inf, None)
    await retention.set_retention("quick", None, 2 * HOUR)
    await retention.set_retention("slow", 5 * HOUR, None)
    assert await _round(pool) == 2
    assert await _left(pool) == {kept, also_kept}
    assert failed not in await _left(pool)
    assert KEEP.over((await retention.retention())["audit"]) == Keep(math.inf, 10 * HOUR)
    await retention.set_retention("audit", None, None)
    await retention.set_retention("slow", None, None)
    assert set(await retention.retention()) == {"quick", "slow"}, "what says nothing is cleared by the next"
    assert await _round(pool, Keep(math.inf, math.inf)) == 0
    assert await _round(pool) == 2


@pytest.mark.usefixtures("retention")
async def test_a_tree_is_kept_while_its_root_is_open_and_goes_from_its_leaves_up(pool: Pool, store: Limited) -> None:
    root = new_task()
    await store.submit([root])
    child = await _ended(pool, hours=5, parent_id=root.id, root_id=root.id)
    grandchild = await _ended(pool, hours=3, parent_id=child, root_id=root.id)
    stranger = await _ended(pool, hours=3)
    assert await _round(pool) == 1
    assert stranger not in await _left(pool)
    (claimed,) = await store.claim(WORKER, 15.0, [Held(root.id, 0)])
    await store.finish([Finish(claimed.held, 1, TaskState.SUCCEEDED)])
    await store.delete_outbox([claimed.held])
    assert await _round(pool) == 1
    assert await _left(pool) == {root.id, child}, "the parent is looked at before its child is gone"
    await _age(pool, root.id, 8)
    late = await _ended(pool, hours=0.5, parent_id=root.id, root_id=root.id)
    assert await _round(pool) == 1
    assert await _left(pool) == {root.id, late}, "a parent is kept for its children"
    await _age(pool, late, 1)
    assert [await _round(pool), await _round(pool)] == [1, 1]
    assert grandchild not in await _left(pool)


@pytest.mark.usefixtures("retention")
async def test_what_is_not_published_or_not_cancelled_below_is_kept(pool: Pool) -> None:
    unpublished = await _ended(pool, hours=2)
    await pool.execute("insert into milepost.outbox (task_id, epoch) values ($1, 1)", unpublished)
    cancelled = await _ended(pool, hours=2, state=TaskState.CANCELLED)
    await pool.execute(
        "insert into milepost.cancellations (task_id, tenant, taken_until) values ($1, 'default', now())", cancelled
    )
    assert await _round(pool) == 0
    await pool.execute("truncate milepost.outbox, milepost.cancellations")
    assert await _round(pool) == 2


@pytest.mark.usefixtures("retention")
async def test_batches_go_on_where_the_one_before_ended(pool: Pool) -> None:
    root = new_task(queue="a")
    await Limited(pool).submit([root])
    for hours in range(2, 7):
        await _ended(pool, hours=hours, queue="a")
    # Older than all of them, and more than a batch: what has to stay does not keep the rest from going.
    held = {await _ended(pool, hours=50, queue="a", parent_id=root.id, root_id=root.id) for _ in range(5)}
    await _ended(pool, hours=11, state=TaskState.FAILED, queue="a")
    assert await _round(pool, limit=2) == 6
    assert await _left(pool) == {root.id, *held}


async def test_one_at_a_time_deletes_and_pauses_for_all(retention: Retention, pool: Pool) -> None:
    for _ in range(4):
        await _ended(pool, hours=2)
    await pool.execute("update milepost.retention_pass set next_at = now()")
    batches = await asyncio.gather(*(retention.forget(KEEP, 2, FAST) for _ in range(8)))
    assert [batch.deleted for batch in batches if batch is not None] == [2]
    assert await retention.next_forgetting() > 0
    assert await retention.forget(KEEP, 2, FAST) is None
    assert await _round(pool) == 2
    assert await retention.next_forgetting() > 30, "after a round there is nothing to do for a while"


async def test_a_rate_is_kept_to_by_whoever_deletes(retention: Retention, pool: Pool) -> None:
    for _ in range(3):
        await _ended(pool, hours=2)
    await pool.execute("update milepost.retention_pass set next_at = now()")
    batch = await retention.forget(KEEP, 2, 1 / 500)
    assert batch is not None
    assert batch.deleted == 2
    assert 900 < await retention.next_forgetting() <= 1000
    assert await retention.forget(KEEP, 2, FAST) is None


async def test_who_is_killed_in_the_middle_leaves_it_to_the_next(retention: Retention, pool: Pool) -> None:
    await _ended(pool, hours=2)
    await pool.execute("update milepost.retention_pass set next_at = now()")
    async with pool.held() as other:
        await other.execute("begin")
        await other.execute("select from milepost.retention_pass for update")
        assert await retention.forget(KEEP, 10, FAST) is None
        await other.execute("rollback")
    batch = await retention.forget(KEEP, 10, FAST)
    assert batch is not None
    assert batch.deleted == 1


@pytest.mark.usefixtures("retention")
async def test_a_task_somebody_is_replaying_is_passed_over_and_lives_on(pool: Pool) -> None:
    task = await _ended(pool, hours=20, state=TaskState.FAILED)
    async with pool.held() as other:
        await other.execute("begin")
        await other.execute("select from milepost.tasks where id = $1 for no key update", task)
        assert await _round(pool) == 0
        await other.execute("rollback")
    assert await DeadLetters(pool).replay("default", [task], uuids.uuid7())
    assert await _round(pool) == 0
    assert await _left(pool) == {task}


@pytest.mark.usefixtures("retention")
async def test_old_tasks_are_found_in_their_order_and_what_belongs_to_them_by_keys(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(f"prepare deleting as {sql('retention_delete')}")
        rows = [
            row[0] for row in await connection.fetch("explain execute deleting ('a', false, null, null, 3600, 500)")
        ]
        await connection.execute("deallocate deleting")
    plan = "\n".join(rows)
    assert "Seq Scan" not in plan, plan
    for index in ("tasks_ended", "tasks_failed_ended"):
        (at,) = [number for number, row in enumerate(rows) if f"using {index} " in row]
        assert "Index Cond: ((queue = " in rows[at + 1], plan
        assert "ROW(finished_at, id) >" in rows[at + 1], plan
        assert "finished_at < " in rows[at + 1], plan
    for index in (
        "tasks_by_parent_in_order",
        "attempts_pkey",
        "deliveries_by_task",
        "outbox_pkey",
        "cancellations_pkey",
    ):
        assert index in plan, plan
