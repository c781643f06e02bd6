"""Finished tasks that are replayed, and what may never be lost by that."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from milepost.store import Finish, Held, Retry
from milepost.store.connection import Pool
from milepost.store.deadletters import DeadLetters, DeadRecord, Failures
from milepost.store.store import sql
from milepost_schemas import TaskState
from tests.integration.store.conftest import WORKER, new_task, row_of

pytestmark = pytest.mark.stack

LEASE = 15.0
GONE = '{"type": "Gone", "message": "it is gone", "fingerprint": "00000000000000aa"}'
NOW = datetime(2999, 1, 1, tzinfo=UTC)
BOTH = (TaskState.FAILED, TaskState.CANCELLED)


@pytest.fixture
async def letters(pool: Pool) -> DeadLetters:
    await pool.execute(
        "truncate milepost.tasks, milepost.attempts, milepost.outbox, milepost.replays, milepost.dead_records"
    )
    return DeadLetters(pool)


async def failed(store: DeadLetters, count: int = 1, error: str = GONE, **overrides: Any) -> list[UUID]:
    """Store tasks that failed; return their ids, the oldest first."""
    tasks = [new_task(**overrides) for _ in range(count)]
    await store.submit(tasks)
    claimed = await store.claim(WORKER, LEASE, [Held(task.id, 0) for task in tasks])
    moved = await store.finish([Finish(one.held, 4, TaskState.FAILED, error=error) for one in claimed])
    assert all(moved)
    return [task.id for task in tasks]


async def test_a_replayed_task_starts_from_the_beginning(letters: DeadLetters, pool: Pool) -> None:
    (task,) = await failed(letters, max_attempts=1, expires_in=3600.0, total_timeout_s=7200.0)
    await pool.execute(
        "update milepost.tasks set created_at = created_at - interval '1 day',"
        " expires_at = expires_at - interval '1 day', deadline_at = deadline_at - interval '1 day'"
    )
    (row,) = await letters.replay("default", [task], uuids.uuid7())
    assert (row["state"], row["epoch"], row["seq"], row["attempt"], row["error"]) == ("queued", 2, 0, 0, None)
    assert [await letters.was_replayed(tenant, task) for tenant in ("default", "other")] == [True, False]
    whole = await row_of(letters, task)
    assert whole["expires_at"] - whole["queued_at"] == timedelta(hours=1)
    assert (whole["finished_at"], whole["started_at"], whole["cancel_requested_at"]) == (None, None, None)
    (claimed,) = await letters.claim(WORKER, LEASE, [Held(task, 2)])
    assert (claimed.epoch, claimed.attempt) == (3, 1)
    await letters.finish([Finish(claimed.held, 1, TaskState.FAILED, error=GONE)])
    await letters.replay("default", [task], uuids.uuid7())
    whole = await row_of(letters, task)
    assert whole["expires_at"] - whole["queued_at"] == timedelta(hours=1)
    assert whole["deadline_at"] - whole["queued_at"] == timedelta(hours=2)


async def test_the_completion_of_a_replayed_task_is_still_published_as_it_was(letters: DeadLetters) -> None:
    (task,) = await failed(letters)
    before = (await letters.take_outbox(0, 10, hold_s=0))[0]
    await letters.replay("default", [task], uuids.uuid7())
    (row,) = await letters.take_outbox(0, 10, hold_s=0)
    told = ("id", "tenant", "type", "queue", "state", "epoch", "attempt", "labels", "error", "result")
    times = ("created_at", "started_at", "finished_at")
    assert [row[name] for name in told + times] == [before[name] for name in told + times]
    assert (before["past"], row["past"]) == (False, True)
    # And the second end has one of its own.
    (claimed,) = await letters.claim(WORKER, LEASE, [Held(task, 2)])
    await letters.finish([Finish(claimed.held, 1, TaskState.SUCCEEDED, result="1")])
    rows = await letters.take_outbox(0, 10, hold_s=0)
    assert {(r["epoch"], r["state"], r["past"]) for r in rows} == {(1, "failed", True), (3, "succeeded", False)}
    await letters.delete_outbox([Held(task, 1)])
    assert [r["epoch"] for r in await letters.take_outbox(0, 10, hold_s=0)] == [3]


@pytest.mark.parametrize("end", ["cancel", "expire", "sweep"])
async def test_ends_that_no_worker_wrote_keep_their_completion_too(letters: DeadLetters, pool: Pool, end: str) -> None:
    task = new_task(max_attempts=1, expires_in=3600.0)
    await letters.submit([task])
    match end:
        case "cancel":
            await letters.cancel("default", task.id)
        case "expire":
            await pool.execute("update milepost.tasks set expires_at = now()")
            await letters.expire(10)
        case _:
            await letters.claim(WORKER, LEASE, [Held(task.id, 0)])
            await pool.execute("update milepost.tasks set lease_until = now() - interval '1 second'")
            await letters.sweep(10)
    (before,) = await letters.take_outbox(0, 10, hold_s=0)
    assert len(await letters.replay("default", [task.id], uuids.uuid7(), states=BOTH)) == 1
    (row,) = await letters.take_outbox(0, 10, hold_s=0)
    names = ("epoch", "state", "attempt", "error", "started_at", "finished_at")
    assert [row[name] for name in names] == [before[name] for name in names]


async def test_of_many_replays_at_once_one_wins(letters: DeadLetters, pool: Pool) -> None:
    ids = await failed(letters, 20)
    done = await asyncio.gather(*(letters.replay("default", ids[n:] + ids[:n], uuids.uuid7()) for n in range(8)))
    assert sorted(row["id"] for rows in done for row in rows) == sorted(ids)
    assert await pool.fetchval("select count(*) from milepost.attempts where ended") == 20
    assert await pool.fetchval("select max(epoch) from milepost.tasks") == 2


async def test_what_is_not_over_what_succeeded_and_what_is_anothers_is_left_alone(letters: DeadLetters) -> None:
    (task,) = await failed(letters)
    queued, done = new_task(), new_task()
    await letters.submit([queued, done])
    (claimed,) = await letters.claim(WORKER, LEASE, [Held(done.id, 0)])
    await letters.finish([Finish(claimed.held, 1, TaskState.SUCCEEDED, result="1")])
    assert await letters.replay("default", [queued.id, done.id], uuids.uuid7(), states=BOTH) == []
    assert await letters.replay("other", [task], uuids.uuid7()) == []
    assert await letters.failed_ids("other", Failures(), NOW, 10) == []
    assert await letters.failed_ids("other", Failures(ids=[task]), NOW, 10) == []
    assert await letters.failed_ids("other", Failures(fingerprint="00000000000000aa"), NOW, 10) == []
    assert await letters.payload_sizes("other", [task], BOTH) == []
    assert await letters.failed_groups("other", "", 10) == []
    assert await letters.failed_members("other", "00000000000000aa", None, 10) == []
    assert await letters.failed_task("other", task) is None
    assert await letters.attempts("other", task, 10) == []


async def test_a_pace_is_kept_over_all_parts_of_a_replay_and_over_those_at_once(letters: DeadLetters) -> None:
    ids = await failed(letters, 40)
    replay = uuids.uuid7()
    parts = await asyncio.gather(*(letters.replay("default", ids[n : n + 10], replay, 0.5) for n in range(0, 40, 10)))
    due = sorted(row["due_at"] for rows in parts for row in rows)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(due)]
    assert min(gaps) > 0.49
    assert 19.4 < (due[-1] - due[0]).total_seconds() < 20.6
    states = [row["state"] for rows in parts for row in rows]
    assert (states.count("queued"), states.count("scheduled")) == (1, 39)


async def test_what_fails_again_while_a_replay_goes_on_is_not_part_of_it(letters: DeadLetters) -> None:
    first, second = await failed(letters, 2)
    replay = uuids.uuid7()
    began = await letters.begin_replay("default", replay)
    await letters.replay("default", [first], replay)
    (claimed,) = await letters.claim(WORKER, LEASE, [Held(first, 2)])
    await letters.finish([Finish(claimed.held, 1, TaskState.FAILED, error=GONE)])
    await letters.forget_replay("other", replay)
    assert await letters.begin_replay("default", replay) == began
    assert await letters.failed_ids("default", Failures(), began, 10) == [second]
    assert set(await letters.failed_ids("default", Failures(), NOW, 10)) == {first, second}


async def test_failures_are_grouped_by_their_fingerprint(letters: DeadLetters) -> None:
    gone = await failed(letters, 3)
    plain = await failed(letters, 2, error='{"type": "Plain", "message": "a"}')
    odd = await failed(letters, 1, error='{"type": "Plain", "message": "b", "fingerprint": "not one"}', type="t.y")
    rows = await letters.failed_groups("default", "", 10)
    assert [r["fingerprint"] for r in rows] == sorted(r["fingerprint"] for r in rows)
    found = {(r["type"], r["count"], r["newest"], r["oldest"]) for r in rows}
    assert found == {("t.x", 3, gone[-1], gone[0]), ("t.x", 2, plain[-1], plain[0]), ("t.y", 1, odd[0], odd[0])}
    seen: list[str] = []
    while page := await letters.failed_groups("default", seen[-1] if seen else "", 1):
        seen += [r["fingerprint"] for r in page]
    assert seen == [r["fingerprint"] for r in rows]
    assert [r["type"] for r in await letters.failed_groups("default", "", 10, "t.y")] == ["t.y"]
    members = await letters.failed_members("default", "00000000000000aa", None, 2)
    assert [r["id"] for r in members] == [gone[2], gone[1]]
    rest = await letters.failed_members("default", "00000000000000aa", gone[1], 2)
    assert [r["id"] for r in rest] == [gone[0]]


async def test_of_failures_that_two_tenants_share_each_sees_its_own(letters: DeadLetters) -> None:
    """The same fingerprint, and those of the other tenant are the oldest and the newest."""
    first = (await failed(letters, tenant="other"))[0]
    mine = (await failed(letters))[0]
    last = (await failed(letters, tenant="other"))[0]
    for tenant, count, oldest, newest in (("default", 1, mine, mine), ("other", 2, first, last)):
        (row,) = await letters.failed_groups(tenant, "", 10)
        assert (row["count"], row["oldest"], row["newest"]) == (count, oldest, newest)
        members = await letters.failed_members(tenant, row["fingerprint"], None, 10)
        assert [each["id"] for each in members] == ([mine] if tenant == "default" else [last, first])


async def test_of_records_that_two_tenants_share_each_sees_its_own(letters: DeadLetters) -> None:
    """As above, of records nobody could read; only an operator sees all."""

    def record(tenant: str, task: UUID) -> DeadRecord:
        place = ("topic", 0, 0, "no JSON", "00000000000000bb", None, b"{", 1, "[]")
        return DeadRecord(uuids.uuid7(), tenant, task, *place, datetime.now(UTC), cut=False)

    tasks = {tenant: new_task(tenant=tenant) for tenant in ("default", "other")}
    await letters.submit(list(tasks.values()))
    records = [record(tenant, tasks[tenant].id) for tenant in ("other", "default", "other")]
    assert await letters.add_records(records) == (3, 0)
    first, mine, last = (each.id for each in records)
    for tenant, operator, count, oldest, newest in (
        ("default", False, 1, mine, mine), ("other", False, 2, first, last), ("default", True, 3, first, last),
    ):  # fmt: skip
        (row,) = await letters.record_groups(tenant, "", 10, None, operator=operator)
        assert (row["count"], row["oldest"], row["newest"]) == (count, oldest, newest)
    members = await letters.record_members("default", "00000000000000bb", None, 10, operator=False)
    assert [each["id"] for each in members] == [mine]
    assert await letters.record("default", last, operator=False) is None


async def test_filters_choose_what_is_replayed(letters: DeadLetters) -> None:
    one = (await failed(letters, queue="q1"))[0]
    two = (await failed(letters, type="t.y", error='{"type": "X", "message": ""}'))[0]

    async def ids(**which: Any) -> set[UUID]:
        return set(await letters.failed_ids("default", Failures(**which), NOW, 10))

    assert await ids() == {one, two}
    assert await ids(queue="q1") == {one}
    assert await ids(type="t.y") == {two}
    assert await ids(fingerprint="00000000000000aa") == {one}
    assert await ids(fingerprint="00000000000000aa", queue="q2") == set()
    assert await ids(ids=[two, uuids.uuid7()]) == {two}
    finished = (await row_of(letters, two))["finished_at"]
    assert await ids(failed_from=finished) == {two}
    assert await ids(failed_before=finished) == {one}


async def test_attempts_are_every_run_once_the_newest_first(letters: DeadLetters, pool: Pool) -> None:
    task = new_task(max_attempts=2)
    await letters.submit([task])

    async def runs() -> list[tuple[int, int, str]]:
        rows = await letters.attempts("default", task.id, 10)
        return [(r["epoch"], r["attempt"], r["outcome"]) for r in rows]

    assert await runs() == []
    (first,) = await letters.claim(WORKER, LEASE, [Held(task.id, 0)])
    assert await runs() == [(1, 1, "running")]
    await letters.retry([Retry(first.held, 1, 0.0, GONE)])
    assert await runs() == [(1, 1, "failed")]
    await letters.due(10)
    await letters.claim(WORKER, LEASE, [Held(task.id, 2)])
    await pool.execute("update milepost.tasks set lease_until = now() - interval '1 second'")
    await letters.sweep(10)
    assert await runs() == [(3, 2, "lease_lost"), (1, 1, "failed")]
    await letters.replay("default", [task.id], uuids.uuid7())
    assert await runs() == [(3, 2, "lease_lost"), (1, 1, "failed")]
    (again,) = await letters.claim(WORKER, LEASE, [Held(task.id, 5)])
    await letters.finish([Finish(again.held, 1, TaskState.FAILED, error=GONE)])
    await letters.replay("default", [task.id], uuids.uuid7())
    assert await runs() == [(6, 1, "failed"), (3, 2, "lease_lost"), (1, 1, "failed")]


async def test_groups_and_members_are_looked_up_in_their_index_however_the_tables_look_when_planned(pool: Pool) -> None:
    await pool.execute("truncate milepost.tasks")
    calls = {
        "failed_groups": "('t', '', 10, null, 10)",
        "failed_members": "('t', 'f', null, 10)",
        "failed_of_group": "('t', 'f', null, null, now(), null, 10)",
        "failed_matching": "('t', null, null, now(), null, 10)",
    }
    async with pool.acquire() as connection:
        for name, arguments in calls.items():
            await connection.execute(f"prepare plan_of_{name} as {sql(name)}")
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain execute plan_of_{name}{arguments}"))
            assert "tasks_failed" in plan, plan
            assert "Sort" not in plan, plan
            assert "Seq Scan on tasks" not in plan, plan
        some = f"'t', array['{WORKER}']::uuid[], array['failed']"
        for name, arguments in (("replay", f"({some}, 0.0, '{WORKER}', true)"), ("payload_sizes", f"({some})")):
            await connection.execute(f"prepare plan_of_{name} as {sql(name)}")
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain execute plan_of_{name}{arguments}"))
            assert "tasks_failed" not in plan, plan
            assert "Index Cond: (id = w.id)" in plan, plan
