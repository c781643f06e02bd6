"""Total time and expiry, on a real Postgres."""

from datetime import timedelta

import orjson
import pytest

from milepost.store import Held, Limited, Retry, Store
from milepost.store.connection import Pool
from milepost_schemas import TypeInfo
from tests.integration.store.conftest import WORKER, new_task, row_of, stolen

pytestmark = pytest.mark.stack

LEASE = 15.0


async def test_a_claim_says_how_much_of_the_total_time_is_left(store: Store) -> None:
    bounded, free = new_task(total_timeout_s=100.0), new_task()
    await store.submit([bounded, free])
    claimed = await store.claim(WORKER, LEASE, [Held(bounded.id, 0), Held(free.id, 0)])
    left = {task.id: task.left_s for task in claimed}
    assert left[free.id] is None
    assert left[bounded.id] == pytest.approx(100, abs=10)


async def test_a_theft_says_it_too(store: Limited, pool: Pool) -> None:
    await store.submit([new_task(total_timeout_s=100.0)])
    await pool.execute("update milepost.tasks set queued_at = now() - interval '5 seconds'")
    (task,) = await stolen(store, worker=WORKER)
    assert task.left_s == pytest.approx(100, abs=10)


async def test_total_time_counts_from_when_a_task_may_start(store: Store) -> None:
    now, later = new_task(total_timeout_s=60.0), new_task(total_timeout_s=60.0, delay=3600.0)
    await store.submit([now, later])
    row = await row_of(store, now.id)
    assert row["deadline_at"] - row["created_at"] == timedelta(seconds=60)
    row = await row_of(store, later.id)
    assert row["deadline_at"] - row["created_at"] == timedelta(seconds=3660)


async def test_a_task_expires_at_the_earlier_of_its_two_bounds(store: Store) -> None:
    tasks = [new_task(total_timeout_s=60.0, expires_in=expires_in) for expires_in in (None, 30.0, 90.0)]
    await store.submit(tasks)
    rows = [await row_of(store, task.id) for task in tasks]
    assert [(row["expires_at"] - row["created_at"]).total_seconds() for row in rows] == [60, 30, 60]


async def test_a_task_that_waits_for_its_next_attempt_when_its_total_time_is_over_fails_and_says_so(
    store: Store, pool: Pool
) -> None:
    task = new_task(total_timeout_s=60.0)
    await store.submit([task])
    (claimed,) = await store.claim(WORKER, LEASE, [Held(task.id, 0)])
    await store.retry([Retry(claimed.held, 0, 30.0, '{"type": "ValueError", "message": "too bad"}')])
    assert await store.expire(10) == []
    await pool.execute("update milepost.tasks set deadline_at = now(), expires_at = now()")
    assert await store.due(10) == []
    (row,) = await store.expire(10)
    error = orjson.loads(row["error"])
    assert (row["state"], error["type"], error["retryable"]) == ("failed", "TotalTimeout", False)
    assert error["message"] == (
        "Attempt 2 did not start before total_timeout was over. The attempt before failed with ValueError: too bad"
    )


async def test_a_task_that_was_never_started_says_what_was_over(store: Store, pool: Pool) -> None:
    expiring, bounded = new_task(expires_in=60.0), new_task(total_timeout_s=60.0)
    await store.submit([expiring, bounded])
    await pool.execute("update milepost.tasks set expires_at = now()")
    await pool.execute("update milepost.tasks set deadline_at = now() where deadline_at is not null")
    rows = {row["id"]: orjson.loads(row["error"]) for row in await store.expire(10)}
    assert rows[expiring.id]["type"] == "Expired"
    assert rows[expiring.id]["message"] == "The task did not start before expires_in was over."
    assert rows[bounded.id]["type"] == "TotalTimeout"
    assert rows[bounded.id]["message"] == "The task did not start before total_timeout was over."


async def test_the_version_before_can_submit_and_announce_on_these_tables(pool: Pool, store: Store) -> None:
    """What it does not know of is left out, and means that there is no limit."""
    task = new_task()
    await pool.execute(
        "insert into milepost.tasks (id, tenant, type, queue, priority, state, max_attempts, payload, root_id)"
        " values ($1, 'default', 't.x', 'default', 1, 'queued', 3, '{}', $1)",
        task.id,
    )
    (claimed,) = await store.claim(WORKER, LEASE, [Held(task.id, 0)])
    assert claimed.left_s is None


async def test_the_total_time_of_a_type_is_announced(store: Store) -> None:
    await store.announce([TypeInfo(type="t.x", queue="default", max_attempts=3, total_timeout=90)])
    (found,) = await store.types()
    assert found.total_timeout == 90
