"""Ownership, on a real Postgres that itself refuses every illegal transition."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from milepost.embedded import Stack
from milepost.errors import Unavailable
from milepost.runtime.settings import Settings
from milepost.store import Filters, Finish, Held, Limited, Release, Retry, Store, migrate, open_pool, pending
from milepost.store.connection import Pool
from milepost.store.shipped import known
from milepost.store.store import sql
from milepost_schemas import Position, Priority, TaskState, TypeInfo
from tests.conftest import MakeSettings, eventually
from tests.integration.store.conftest import OTHER, WORKER, new_task, row_of, stolen

pytestmark = pytest.mark.stack

LEASE = 15.0


async def _queued(store: Store, count: int = 1, **overrides: object) -> list[Held]:
    tasks = [new_task(**overrides) for _ in range(count)]
    await store.submit(tasks)
    return [Held(t.id, 0) for t in tasks]


async def test_a_submitted_task_is_queued_and_found(store: Store) -> None:
    task = new_task(payload={"a": 1}, labels='{"team": "red"}')
    (submitted,) = await store.submit([task])
    assert submitted.state is TaskState.QUEUED
    row = await row_of(store, task.id)
    assert row["payload"] == '{"a":1}'
    view = await store.task_view("default", task.id)
    assert view is not None
    assert view[1] == Position(0, 0)
    assert view[0]["root_id"] == task.id


async def test_another_tenant_finds_nothing(store: Store) -> None:
    task = new_task()
    await store.submit([task])
    assert await store.get("other", task.id) is None
    assert await store.cancel("other", task.id) is None
    assert await store.find("other", Filters()) == []
    assert await store.task_views([("other", task.id)]) == []


async def test_a_task_of_the_future_is_scheduled_and_becomes_due(store: Store, pool: Pool) -> None:
    task = new_task(delay=3600.0)
    (submitted,) = await store.submit([task])
    assert submitted.state is TaskState.SCHEDULED
    assert await store.due(10) == []
    seconds = await store.next_due()
    assert seconds is not None
    assert 3590 < seconds <= 3600
    await pool.execute("update milepost.tasks set due_at = now() where id = $1", task.id)
    (row,) = await store.due(10)
    assert (row["state"], row["epoch"]) == ("queued", 1)


async def test_parallel_submissions_with_one_key_make_one_task(store: Store) -> None:
    tasks = [new_task(idempotency_key="k", fingerprint=b"f") for _ in range(20)]
    batches = await asyncio.gather(*(store.submit(tasks[n : n + 2]) for n in range(0, 20, 2)))
    ids = {submitted.id for batch in batches for submitted in batch}
    assert len(ids) == 1
    assert sum(s.before is None for batch in batches for s in batch) == 1


async def test_one_key_in_two_tenants_makes_two_tasks(store: Store) -> None:
    one, two = new_task(idempotency_key="k"), new_task(idempotency_key="k", tenant="other")
    assert {s.id for s in await store.submit([one, two])} == {one.id, two.id}


async def test_only_one_of_many_claims_wins(store: Store) -> None:
    held = await _queued(store, 20)
    claims = await asyncio.gather(*(store.claim(WORKER, LEASE, held) for _ in range(8)))
    ids = [task.id for claim in claims for task in claim]
    assert sorted(ids) == sorted(h.id for h in held)


async def test_a_stale_hint_claims_nothing(store: Store) -> None:
    (held,) = await _queued(store)
    (claimed,) = await store.claim(WORKER, LEASE, [held])
    assert (claimed.epoch, claimed.attempt) == (1, 1)
    assert await store.claim(OTHER, LEASE, [held]) == []
    assert await store.claim(OTHER, LEASE, [Held(held.id, 1)]) == []


async def test_a_result_is_written_once_and_announced_once(store: Store, pool: Pool) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    finish = Finish(claimed.held, 3, TaskState.SUCCEEDED, result='{"n": 1}')
    first, second = await store.finish([finish]), await store.finish([finish])
    assert first[0] is not None
    assert first[0].state is TaskState.SUCCEEDED
    assert second == [None]
    assert await pool.fetchval("select count(*) from milepost.outbox") == 1
    await store.delete_outbox([claimed.held])
    assert await pool.fetchval("select count(*) from milepost.outbox") == 0


async def test_a_fenced_worker_writes_nothing(store: Store, pool: Pool) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    await pool.execute("update milepost.tasks set lease_until = now() - interval '1 second'")
    (swept,) = await store.sweep(10)
    assert (swept["state"], swept["epoch"], swept["attempt"]) == ("queued", 2, 1)
    assert await store.renew(LEASE, [(claimed.held, 5, None)]) == []
    assert await store.finish([Finish(claimed.held, 1, TaskState.SUCCEEDED, result="1")]) == [None]
    assert await store.retry([Retry(claimed.held, 1, 0.0, "{}")]) == [None]
    assert await store.release([Release(claimed.held, 1)]) == [None]
    row = await row_of(store, claimed.id)
    assert (row["state"], row["result"], row["epoch"]) == ("queued", None, 2)
    assert await pool.fetchval("select outcome from milepost.attempts") == "lease_lost"


async def test_a_task_that_kills_its_workers_fails_after_its_last_attempt(store: Store, pool: Pool) -> None:
    held = (await _queued(store, max_attempts=2))[0]
    for epoch, expected in ((0, "queued"), (2, "failed")):
        assert len(await store.claim(WORKER, LEASE, [Held(held.id, epoch)])) == 1
        await pool.execute("update milepost.tasks set lease_until = now() - interval '1 second'")
        (row,) = await store.sweep(10)
        assert row["state"] == expected
    assert await pool.fetchval("select count(*) from milepost.outbox") == 1


async def test_a_live_lease_is_not_swept(store: Store) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    assert await store.sweep(10) == []
    (renewed,) = await store.renew(LEASE, [(claimed.held, 7, '{"done": 4}')])
    assert renewed == (claimed.held, False)
    row = await row_of(store, claimed.id)
    assert (row["seq"], row["progress"]) == (7, '{"done": 4}')


async def test_a_failed_attempt_waits_and_is_remembered(store: Store, pool: Pool) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    (moved,) = await store.retry([Retry(claimed.held, 2, 0.0, '{"type": "X", "message": "m"}')])
    assert moved is not None
    assert moved.state is TaskState.SCHEDULED
    (row,) = await store.due(10)
    assert (row["epoch"], row["attempt"]) == (2, 1)
    assert await pool.fetchval("select outcome from milepost.attempts") == "failed"
    (again,) = await store.claim(WORKER, LEASE, [Held(claimed.id, 2)])
    assert (again.epoch, again.attempt) == (3, 2)


async def test_a_released_task_gets_its_attempt_back(store: Store) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    (moved,) = await store.release([Release(claimed.held, 1)])
    assert moved is not None
    assert (moved.state, moved.attempt) == (TaskState.QUEUED, 0)
    (again,) = await store.claim(OTHER, LEASE, [claimed.held])
    assert (again.epoch, again.attempt) == (2, 1)


async def test_a_queued_task_is_cancelled_at_once(store: Store, pool: Pool) -> None:
    (held,) = await _queued(store)
    outcome = await store.cancel("default", held.id)
    assert outcome is not None
    assert outcome.moved
    assert (outcome.row["state"], outcome.row["epoch"]) == ("cancelled", 1)
    again = await store.cancel("default", held.id)
    assert again is not None
    assert not again.moved
    assert await pool.fetchval("select count(*) from milepost.outbox") == 1
    assert await store.claim(WORKER, LEASE, [held]) == []


async def test_a_running_task_is_asked_and_told_by_the_renewal(store: Store) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    outcome = await store.cancel("default", claimed.id)
    assert outcome is not None
    assert not outcome.moved
    assert outcome.row["state"] == "running"
    (renewed,) = await store.renew(LEASE, [(claimed.held, 0, None)])
    assert renewed.cancel


async def test_a_cancel_request_is_kept_whatever_the_worker_does_next(store: Store, pool: Pool) -> None:
    for way in ("retry", "release", "sweep"):
        (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
        await store.cancel("default", claimed.id)
        match way:
            case "retry":
                await store.retry([Retry(claimed.held, 0, 0.0, "{}")])
            case "release":
                await store.release([Release(claimed.held, 0)])
            case _:
                await pool.execute("update milepost.tasks set lease_until = now() - interval '1 second'")
                await store.sweep(10)
        row = await row_of(store, claimed.id)
        assert row["state"] == "cancelled", way
        assert row["finished_at"] is not None
    assert await pool.fetchval("select count(*) from milepost.outbox") == 3


async def test_stealing_takes_the_most_urgent_first_and_only_what_is_old(store: Limited, pool: Pool) -> None:
    low, normal, high = (
        new_task(priority=p) for p in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    )  # stored oldest first, stolen most urgent first
    await store.submit([low])
    await store.submit([normal])
    await store.submit([high])
    young = new_task()
    await pool.execute("update milepost.tasks set queued_at = now() - interval '5 seconds'")
    await store.submit([young])
    order = [task.id for _ in range(4) for task in await stolen(store, 1, worker=WORKER)]
    assert order == [high.id, normal.id, low.id]


async def test_stealing_leaves_types_and_queues_of_others(store: Limited, pool: Pool) -> None:
    await _queued(store)
    await pool.execute("update milepost.tasks set queued_at = now() - interval '5 seconds'")
    assert await stolen(store, worker=WORKER, type_="t.other") == []
    assert await stolen(store, worker=WORKER, queue="other") == []


async def test_a_task_nobody_started_in_time_expires(store: Store, pool: Pool) -> None:
    (held,) = await _queued(store, expires_in=3600.0)
    assert await store.expire(10) == []
    await pool.execute("update milepost.tasks set expires_at = now()")
    assert await store.claim(WORKER, LEASE, [held]) == []
    (row,) = await store.expire(10)
    assert (row["state"], row["epoch"]) == ("failed", 1)
    assert '"Expired"' in row["error"]


async def test_an_overdue_completion_goes_to_one_publisher_at_a_time(store: Store) -> None:
    (claimed,) = await store.claim(WORKER, LEASE, await _queued(store))
    await store.finish([Finish(claimed.held, 0, TaskState.SUCCEEDED, result="1")])
    assert await store.take_outbox(60, 10) == []
    takes = await asyncio.gather(*(store.take_outbox(0, 10) for _ in range(5)))
    assert [row["id"] for rows in takes for row in rows] == [claimed.id]


async def test_lists_filter_and_page(store: Store) -> None:
    red = [new_task(labels='{"team": "red"}', type="t.red") for _ in range(5)]
    blue = [new_task(labels='{"team": "blue"}', queue="q2") for _ in range(3)]
    await store.submit(red + blue)

    async def ids(**filters: object) -> list[object]:
        return [row["id"] for row in await store.find("default", Filters(**filters))]  # type: ignore[arg-type]

    assert await ids(labels={"team": "red"}) == [t.id for t in reversed(red)]
    assert await ids(queue="q2") == [t.id for t in reversed(blue)]
    assert await ids(type="t.red", states=["running"]) == []
    assert len(await ids(states=["queued", "running"])) == 8
    assert await ids(created_from=datetime.now(UTC) + timedelta(hours=1)) == []
    first = await ids(limit=6)
    assert len(first) == 6
    assert set(first) | set(await ids(after=first[-1])) == {t.id for t in red + blue}


async def test_types_are_remembered_and_counted(store: Store) -> None:
    info = TypeInfo(type="t.x", queue="default", max_attempts=3, timeout=None, payload_schema={"type": "object"})
    await store.announce([info])
    await store.announce([info.model_copy(update={"queue": "q2"})])
    (found,) = await store.types()
    assert (found.queue, found.workers, found.payload_schema) == ("q2", 0, {"type": "object"})


async def test_migrating_twice_or_at_once_does_it_once(fresh: MakeSettings) -> None:
    settings = await fresh()
    names = [f"{each.version:04d}_{each.name}" for each in known()]
    assert await pending(settings) == names
    done = await asyncio.gather(*(migrate(settings) for _ in range(4)))
    assert sorted(done, key=len) == [[], [], [], names]
    assert await pending(settings) == []


async def test_a_database_without_tables_is_unavailable_and_says_what_to_do(fresh: MakeSettings) -> None:
    bare = await open_pool(await fresh(), "test")
    try:
        with pytest.raises(Unavailable, match="milepost migrate"):
            await Store(bare).types()
    finally:
        await bare.close()


async def test_a_database_that_is_away_is_unavailable(settings: Settings) -> None:
    gone = settings.model_copy(update={"database_url": type(settings.database_url)("postgresql://x@127.0.0.1:9/x")})
    pool = await open_pool(gone, "test")
    with pytest.raises(Unavailable):
        await Store(pool).types()
    pool.terminate()


async def test_a_pool_whose_connections_were_cut_goes_on(store: Store, pool: Pool, stack: Stack) -> None:
    held = await _queued(store, 3)
    database = await pool.fetchval("select current_database()")
    admin = await asyncpg.connect(stack.postgres.admin_url)
    try:
        rows = await admin.fetch(
            "select pid, pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database
        )
        cut = [row["pid"] for row in rows]
        assert cut

        async def gone() -> bool:
            left = "select count(*) from pg_stat_activity where pid = any($1::int[]) and datname = $2"
            return not await admin.fetchval(left, cut, database)

        # A claim that is cut off in its middle may have got through: here, none is.
        await eventually(gone, "the connections to be cut")
    finally:
        await admin.close()
    claimed: list[object] = []

    async def claim() -> bool:
        try:
            claimed.extend(await store.claim(WORKER, LEASE, held))
        except Unavailable:
            return False
        return len(claimed) == 3

    await eventually(claim, "a claim on a new connection")


async def test_plans_made_on_empty_tables_still_look_tasks_up_by_their_id(pool: Pool) -> None:
    """A cached plan outlives the moment it was made in: reading the index of all queued tasks is cheap only then."""
    some = f"array['{WORKER}']::uuid[]"
    calls = {
        "claim": f"({some}, array[0], '{WORKER}', 15.0)",
        "finish": f"({some}, array[1], array[1], array['failed'], array[null]::json[], array[null]::json[],"
        " array[null]::json[])",
        "renew": f"({some}, array[1], array[1], array[null]::json[], 15.0)",
        "outbox_delete": f"({some}, array[1])",
        "get_many": f"(array['default'], {some})",
    }
    async with pool.acquire() as connection:
        for name, arguments in calls.items():
            await connection.execute(f"prepare plan_of_{name} as {sql(name)}")
            rows = await connection.fetch(f"explain execute plan_of_{name}{arguments}")
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan" not in plan, plan
            assert not {"tasks_waiting", "tasks_running"} & set(plan.replace(" on ", " ").split()), plan
            assert "Index Cond: ((task_id = " in plan or "(id = " in plan, plan
            await connection.execute(f"deallocate plan_of_{name}")


async def test_trees_and_children_are_listed_by_indexes_of_their_own(pool: Pool) -> None:
    asked = f"'default', array['queued'], null, null, null, null, null, '{WORKER}', 50"
    wanted = {
        "list": (asked, "tasks_by_tenant"),
        "list_children": (f"{asked}, '{WORKER}', null", "tasks_by_parent_in_order"),
        "list_tree": (f"{asked}, '{WORKER}'", "tasks_by_root"),
    }
    async with pool.acquire() as connection:
        for name, (arguments, index) in wanted.items():
            await connection.execute(f"prepare plan_of_{name} as {sql(name)}")
            rows = [row[0] for row in await connection.fetch(f"explain execute plan_of_{name}({arguments})")]
            plan = "\n".join(rows)
            # In order, so that what comes after the page is not read; what is before it is passed over in the index.
            assert f"Index Scan Backward using {index} " in plan, plan
            assert all("id < COALESCE" in row for row in rows if "Index Cond" in row), plan
            await connection.execute(f"deallocate plan_of_{name}")
