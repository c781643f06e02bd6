"""Claiming by turns, on a real Postgres: who is next, what is looked at, and what that costs."""

import asyncio
import re
from collections import Counter
from typing import Any
from uuid import UUID

import orjson
import pytest

from milepost.domain.turns import Group, Share
from milepost.domain.window import FLOOR
from milepost.store import Claimed, Held, Limited, Store
from milepost.store.by_turns import GROUPS, GROUPS_IN_ALL, TENANTS, TENANTS_IN_ALL, ByTurns
from milepost.store.connection import Pool
from milepost.store.queues import Queues
from milepost.store.store import sql
from milepost_schemas import Priority
from tests.integration.store.conftest import OTHER, WORKER, new_task, stolen

pytestmark = pytest.mark.stack

LEASE = 15.0


def _by_turns(store: Limited, *queues: str, worker: UUID = WORKER) -> ByTurns:
    return ByTurns(store, worker, LEASE, queues or ["default"], ["t.x", "t.y"])


async def _submitted(store: Store, count: int = 1, **overrides: object) -> list[UUID]:
    tasks = [new_task(**overrides) for _ in range(count)]
    for task in tasks:  # one by one, so that they stand in this order
        await store.submit([task])
    return [task.id for task in tasks]


async def _all(turns: ByTurns, slots: int, older_than_s: float = 0.0) -> list[Claimed]:
    """Take until nothing is left."""
    claimed: list[Claimed] = []
    while True:
        taken = await turns.take(slots, older_than_s)
        claimed += taken.claimed
        if not taken.more:
            return claimed


async def _insert(pool: Pool, count: int, tenant: str, type_: str = "t.x", key: str = "null") -> None:
    await pool.execute(
        "insert into milepost.tasks (id, tenant, type, queue, priority, state, max_attempts, payload, root_id,"  # noqa: S608
        " queued_at, key) select gen_random_uuid(), $2, $3, 'default', 1, 'queued', 3, '{}', gen_random_uuid(),"
        f" clock_timestamp(), {key} from generate_series(1, $1::int) as n",
        count,
        tenant,
        type_,
    )


async def test_another_tenants_first_task_is_next_however_many_of_one_wait(store: Limited, pool: Pool) -> None:
    await _insert(pool, 10_000, "large")
    turns = _by_turns(store)
    assert [task.tenant for task in (await turns.take(5)).claimed] == ["large"] * 5
    await _submitted(store, tenant="small")
    turns.look_again()  # what was seen is believed for a tenth of a second
    assert [task.tenant for task in (await turns.take(1)).claimed] == ["small"]


async def test_within_a_tenant_the_most_urgent_and_then_the_oldest_is_first(store: Limited) -> None:
    low = await _submitted(store, 2, priority=Priority.LOW)
    normal = await _submitted(store, 2)
    high = await _submitted(store, 2, priority=Priority.HIGH)
    assert [task.id for task in await _all(_by_turns(store), 1)] == high + normal + low


async def test_nobody_passes_another_tenant_by_calling_everything_urgent(store: Limited) -> None:
    await _submitted(store, 6, tenant="loud", priority=Priority.HIGH)
    await _submitted(store, 2, tenant="modest", priority=Priority.LOW)
    first = [task.tenant for task in (await _by_turns(store).take(4)).claimed]
    assert Counter(first) == {"loud": 2, "modest": 2}


async def test_each_tenant_has_its_turn_before_any_has_two_also_where_one_look_does_not_see_all(
    store: Limited, pool: Pool
) -> None:
    tenants = 2 * TENANTS + 7
    for n in range(tenants):
        await _insert(pool, 2, f"tenant-{n}")
    turns = _by_turns(store)
    rounds = [[(await turns.take(1)).claimed[0].tenant for _ in range(tenants)] for _ in range(2)]
    assert all(len(set(each)) == tenants for each in rounds)
    assert await _all(turns, 1) == []


async def test_keys_without_number_take_turns_and_cost_no_other_tenant_its_own(store: Limited, pool: Pool) -> None:
    await _insert(pool, 3 * GROUPS, "keys", key="'k' || n")
    await _insert(pool, 2 * GROUPS, "plain")
    turns = _by_turns(store)
    took: list[str] = []
    while len(took) < 2 * GROUPS:  # as a worker with two slots would
        took += [task.tenant for task in (await turns.take(2 - len(took) % 2)).claimed]
    assert Counter(took) == {"keys": GROUPS, "plain": GROUPS}
    rest = await _all(turns, 10)
    assert len(took) + len(rest) == 5 * GROUPS
    assert len({task.id for task in rest}) == len(rest)


async def test_a_look_is_bounded_where_many_tenants_have_many_groups_and_in_the_end_all_are_seen(
    store: Limited, pool: Pool
) -> None:
    await pool.execute(
        "insert into milepost.tasks (id, tenant, type, queue, priority, state, max_attempts, payload, root_id,"
        " queued_at, key) select gen_random_uuid(), 'tenant-' || t, 't.x', 'default', p, 'queued', 3, '{}',"
        " gen_random_uuid(), clock_timestamp(), 'k' || k"
        " from generate_series(1, $1::int) as t, generate_series(0, 2) as p, generate_series(1, 12) as k",
        TENANTS,
    )
    seen = await store.waiting({"default": None}, ["t.x"], TENANTS, GROUPS, GROUPS_IN_ALL)
    assert len({each.group.tenant for each in seen}) == TENANTS
    assert len(seen) <= GROUPS_IN_ALL
    turns = _by_turns(store)
    first = [(await turns.take(1)).claimed[0].tenant for _ in range(TENANTS)]
    assert len(set(first)) == TENANTS
    rest = await _all(turns, 200)
    assert len({task.id for task in rest}) + len(first) == TENANTS * 3 * 12


async def test_tenants_of_many_queues_are_seen_in_turns(store: Limited) -> None:
    queues = [f"q{n:02}" for n in range(TENANTS_IN_ALL // 2)]
    for tenant in "abcde":
        await store.submit([new_task(tenant=tenant, queue=queue) for queue in queues])
    taken = await _all(_by_turns(store, *queues), 100)
    assert len({task.id for task in taken}) == 5 * len(queues)


async def test_types_nobody_here_knows_are_left_alone_and_hide_nothing(store: Limited, pool: Pool) -> None:
    await _insert(pool, 500, "a", "t.foreign", key="'k' || n")
    await _insert(pool, 1, "a", "t.y")
    (task,) = await _all(_by_turns(store), 5)
    assert task.type == "t.y"


async def test_queues_take_turns(store: Limited) -> None:
    await _submitted(store, 4, queue="one")
    await _submitted(store, 2, queue="other")
    taken = await _by_turns(store, "one", "other").take(4)
    assert Counter(task.queue for task in taken.claimed) == {"one": 2, "other": 2}


async def test_stealing_goes_by_turns_too_and_only_to_what_is_old(store: Limited, pool: Pool) -> None:
    await _insert(pool, 100, "large")
    await _insert(pool, 1, "small")
    await pool.execute("update milepost.tasks set queued_at = now() - interval '1 minute'")
    await _submitted(store, tenant="young")
    assert Counter(task.tenant for task in await stolen(store, 2, worker=WORKER)) == {"large": 1, "small": 1}
    got = Counter(task.tenant for task in await _all(_by_turns(store), 50, older_than_s=1.0))
    assert got == {"large": 99}


async def test_what_another_takes_or_has_expired_is_passed_over(store: Limited, pool: Pool) -> None:
    first, second, third = await _submitted(store, 3)
    await pool.execute("update milepost.tasks set expires_at = now() where id = $1", second)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from milepost.tasks where id = $1 for update", first)
        taken = await _by_turns(store).take(2)
    assert [task.id for task in taken.claimed] == [third]
    assert not taken.more


async def test_nobody_takes_twice_what_many_take_at_once(store: Limited, pool: Pool) -> None:
    await _insert(pool, 60, "a")
    await _insert(pool, 60, "b", key="'k' || n % 7")
    workers = [_by_turns(store, worker=worker) for worker in (WORKER, OTHER, UUID(int=0xC))]
    got = await asyncio.gather(*(_all(turns, 7) for turns in workers))
    ids = [task.id for each in got for task in each]
    assert len(ids) == len(set(ids)) == 120


async def test_taken_tasks_are_claimed_like_any_other(store: Limited) -> None:
    (id_,) = await _submitted(store, key="k")
    ((claimed,), _) = await _by_turns(store).take(1)
    assert (claimed.id, claimed.epoch, claimed.attempt, claimed.key) == (id_, 1, 1, "k")
    assert await store.claim(OTHER, LEASE, [Held(id_, 0)]) == []


async def test_room_is_counted_up_to_a_bound(store: Limited, pool: Pool) -> None:
    await _insert(pool, FLOOR + 10, "a")
    await _insert(pool, 3, "b")
    rooms = await store.room([("a", "default"), ("b", "default"), ("c", "default")])
    assert [rooms[tenant, "default"].queued for tenant in "abc"] == [FLOOR, 3, 0]


async def _pages(connection: Any, name: str, arguments: str) -> int:
    """Return how many pages a statement reads by a plan that does not depend on what is asked."""
    await connection.execute(f"prepare counting as {sql(name)}")
    rows = await connection.fetch(f"explain (analyze, buffers, format json) execute counting{arguments}")
    await connection.execute("deallocate counting")
    plan = orjson.loads(rows[0][0])[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def test_who_asks_about_a_line_reads_what_is_counted_and_little_more(store: Limited, pool: Pool) -> None:
    [oldest] = await _submitted(store, tenant="a")
    for _ in range(4):
        await _insert(pool, 1_500, "a")
        await _insert(pool, 500, "a", "t.y", key="'k' || n % 7")
        await _insert(pool, 2_000, "b")
    [newest] = await _submitted(store, tenant="a")
    [urgent] = await _submitted(store, tenant="a", priority=Priority.HIGH)
    async with pool.acquire() as connection:
        assert await _pages(connection, "queues", "('a', 15.0, 50)") < 60
        for task in (oldest, newest):
            assert await _pages(connection, "explain", f"('a', '{task}', 15.0, 50)") < 120
    queues = Queues(pool)
    [queue] = await queues.queues("a", 100_000)
    assert queue["depth"] == 8_003

    async def ahead(task: UUID, most: int = 10_000) -> int:
        row = await queues.explain("a", task, most)
        assert row is not None
        return int(row["ahead"])

    assert [await ahead(task) for task in (oldest, newest, urgent)] == [1, 8_002, 0]
    assert await ahead(newest, 50) == 50


async def test_a_look_and_a_take_read_a_few_pages_however_many_wait(store: Limited, pool: Pool) -> None:
    """Counted in pages of Postgres, not in time; also on plans that were made while nothing waited."""
    calls = {
        "waiting": "(array['default'], array[null]::text[], 64, array['t.x'], 64, null, null, null, null, null, 1024)",
        "room": "(array['a'], array['default'], 256, 2, 15.0)",
        "take": f"(array['default'], array['a'], array[1]::smallint[], array['t.x'], array[''], array[3], '{WORKER}',"
        " 15.0, 0.0)",
    }
    async with pool.acquire() as connection:
        for name, arguments in calls.items():
            await connection.execute(f"prepare turn_{name} as {sql(name)}")
            await connection.fetch(f"execute turn_{name}{arguments}")
        await connection.execute("alter table milepost.tasks disable trigger guard")
        for n in range(10):
            await _insert(pool, 5_000, "a")
            await _insert(pool, 5_000, "a", "t.foreign", key=f"'{n} ' || n")
        await connection.execute("alter table milepost.tasks enable trigger guard")
        for name, arguments in calls.items():
            rows = await connection.fetch(f"explain (analyze, buffers) execute turn_{name}{arguments}")
            plan = "\n".join(row[0] for row in rows)
            await connection.execute(f"deallocate turn_{name}")
            assert "Seq Scan on tasks" not in plan, plan
            assert "tasks_waiting" in plan, plan
            run = plan.partition("\nPlanning:")[0].splitlines()
            pages = [sum(map(int, re.findall(r"(?:hit|read)=(\d+)", line))) for line in run if "Buffers" in line]
            assert max(pages) < 120, plan
    taken = await store.take(WORKER, LEASE, [Share(Group("default", "a", 1, "t.x", ""), 3)])
    assert len(taken) == 3
