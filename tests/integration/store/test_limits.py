"""Limits at the claim, on a real Postgres, by many workers at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import orjson
import pytest

from milepost.domain.limits import EACH, EVERYBODY, Limits, Name, Rate, Scope
from milepost.domain.turns import Share
from milepost.store import Claimed, Finish, GivenUp, Limited
from milepost.store.by_turns import TENANTS, ByTurns
from milepost.store.connection import Pool
from milepost.store.limits import _lock, group_of
from milepost.store.queues import Queues
from milepost.store.store import sql
from milepost_schemas import TaskState
from tests.integration.store.conftest import OTHER, WORKER, new_task, row_of

pytestmark = pytest.mark.stack

LEASE = 15.0
QUEUE = Name("default", Scope.QUEUE, "default")


async def _by_turns(store: Limited, worker: UUID = WORKER) -> ByTurns:
    turns = ByTurns(store, worker, LEASE, ["default", "other"], ["t.x", "t.y"])
    turns.limits = await store.limits()
    return turns


async def _queued(store: Limited, count: int, **overrides: object) -> None:
    await store.submit([new_task(**overrides) for _ in range(count)])


async def _take(turns: ByTurns, slots: int = 100) -> list[Claimed]:
    """Take as long as there is something to take."""
    turns.look_again()
    claimed: list[Claimed] = []
    more = True
    while more and len(claimed) < slots:
        some, more = await turns.take(slots - len(claimed))
        claimed += some
    return claimed


async def _finish(store: Limited, tasks: Sequence[Claimed]) -> None:
    if not tasks:
        return
    assert None not in await store.finish([Finish(task.held, 1, TaskState.SUCCEEDED, result="1") for task in tasks])


@pytest.mark.parametrize(
    ("name", "others"),
    [
        (QUEUE, {"queue": "other"}),
        (Name(EVERYBODY, Scope.QUEUE, "default"), {"queue": "other"}),
        (Name("default", Scope.TYPE, "t.x"), {"type": "t.y"}),
        (Name("default", Scope.KEY, "k"), {"key": "l"}),
        (Name("default", Scope.KEY, EACH), {"key": None}),
        (Name(EVERYBODY, Scope.TENANT, "default"), {"tenant": "another"}),
        (Name(EVERYBODY, Scope.TENANT, EACH), {"tenant": "another"}),
    ],
)
async def test_no_more_run_than_a_limit_allows_and_what_is_under_none_pays_nothing(
    store: Limited, name: Name, others: dict[str, object]
) -> None:
    await store.set_limit(name, 2, None)
    await _queued(store, 5, key="k")
    await _queued(store, 2, **({"key": "k"} | others))
    turns = await _by_turns(store)
    first = await _take(turns)
    assert len(first) == 4
    assert {group.key for group in turns.held} == {"k"}
    assert await _take(turns) == []
    bound = [task for task in first if all(getattr(task, what) != other for what, other in others.items())]
    assert len(bound) == 2
    await _finish(store, bound[:1])
    assert len(await _take(turns)) == 1


async def test_the_last_place_goes_to_one_of_many_who_want_it_at_once(store: Limited, pool: Pool) -> None:
    await store.set_limit(QUEUE, 3, None)
    await _queued(store, 20)
    workers = [await _by_turns(store, UUID(int=n)) for n in range(1, 9)]
    peak = 0
    done: list[Claimed] = []

    async def works(turns: ByTurns) -> None:
        nonlocal peak
        while len(done) < 20:
            claimed = await _take(turns, 2)
            running = await pool.fetchval("select count(*) from milepost.tasks where state = 'running'")
            peak = max(peak, running)
            await _finish(store, claimed)
            done.extend(claimed)

    await asyncio.gather(*map(works, workers))
    assert peak <= 3
    assert len({task.id for task in done}) == 20


async def test_a_crash_leaves_no_place_taken(store: Limited) -> None:
    await store.set_limit(QUEUE, 1, None)
    await _queued(store, 2)
    turns = await _by_turns(store)
    (claimed,) = await _take(turns)
    assert await _take(turns) == []
    why = '{"type": "LeaseLost", "message": "m", "retryable": true}'
    await store.abandon([GivenUp(claimed.held, why, counts=True)])
    assert len(await store.sweep(10)) == 1
    assert len(await _take(await _by_turns(store, OTHER))) == 1


async def test_by_their_times_too_none_begins_before_the_one_has_ended_that_made_room(store: Limited) -> None:
    await store.set_limit(QUEUE, 1, None)
    await _queued(store, 2)
    (first,) = await _take(await _by_turns(store))
    shares = [Share(group_of(first), 1)]
    async with store._transaction() as connection:
        await connection.fetchval("select now()")  # as the lock does, before what runs is counted
        await _finish(store, [first])
        ((second,), _) = await store._within(connection, WORKER, LEASE, shares, 0.0, await store.limits())
    ended = (await row_of(store, first.id))["finished_at"]
    assert second.started_at > ended


async def test_tasks_that_ran_before_a_limit_was_set_count(store: Limited) -> None:
    await _queued(store, 3)
    assert len(await _take(await _by_turns(store), 2)) == 2
    await store.set_limit(QUEUE, 2, None)
    assert await _take(await _by_turns(store)) == []


async def test_a_place_goes_to_the_tenant_whose_turn_it_is(store: Limited) -> None:
    await store.set_limit(Name(EVERYBODY, Scope.QUEUE, "default"), 1, None)
    await _queued(store, 50, tenant="large")
    await _queued(store, 1, tenant="small")
    turns = await _by_turns(store)
    order = []
    for _ in range(3):
        (claimed,) = await _take(turns)
        order.append(claimed.tenant)
        await _finish(store, [claimed])
    assert Counter(order[:2]) == {"large": 1, "small": 1}


async def test_a_rate_lets_a_burst_go_and_then_what_time_gives(store: Limited, pool: Pool) -> None:
    name = Name("default", Scope.KEY, EACH)
    await store.set_limit(name, None, Rate(3, 3600.0))
    await _queued(store, 5, key="k")
    await _queued(store, 1, key="l")
    turns = await _by_turns(store)
    first = await _take(turns)
    assert Counter(task.key for task in first) == {"k": 3, "l": 1}
    await _finish(store, first)
    assert await _take(turns) == [], "an end gives nothing back: starts are counted"
    await pool.execute("update milepost.paces set next_at = next_at - interval '20 minutes' where name = 'k'")
    assert len(await _take(turns)) == 1
    assert await _take(turns) == []


async def test_paces_that_are_over_are_forgotten(store: Limited, pool: Pool) -> None:
    await store.set_limit(Name("default", Scope.KEY, EACH), None, Rate(1, 60.0))
    await pool.execute("insert into milepost.paces values ('default', 'key', 'old', now() - interval '1 hour')")
    await _queued(store, 1, key="k")
    await _take(await _by_turns(store))
    assert [row["name"] for row in await pool.fetch("select name from milepost.paces")] == ["k"]


async def test_nobody_takes_from_a_paused_queue_until_it_goes_on(store: Limited) -> None:
    await store.pause("default", "default", paused=True)
    await _queued(store, 1)
    await _queued(store, 1, tenant="another")
    turns = await _by_turns(store)
    assert [task.tenant for task in await _take(turns)] == ["another"]
    await store.pause("default", "default", paused=False)
    turns.limits = await store.limits()
    assert len(await _take(turns)) == 1


async def test_who_is_paused_or_held_back_keeps_no_other_tenant_from_its_turn(store: Limited) -> None:
    """Also where one look does not see all of them."""
    tenants = [f"tenant-{n:03}" for n in range(TENANTS + 9)]
    for tenant in tenants:
        await _queued(store, 3, tenant=tenant, queue="other" if tenant == tenants[1] else "default")
    await store.pause(tenants[0], "default", paused=True)
    await store.set_limit(Name(EVERYBODY, Scope.TENANT, tenants[1]), 0, None)
    turns = await _by_turns(store)
    served: list[str] = []
    while len(served) < len(tenants) - 2:
        served += [task.tenant for task in (await turns.take(1)).claimed]
    assert set(served) == set(tenants[2:]), "each once, before any has two"


async def test_a_pause_leaves_limits_and_a_limit_leaves_the_pause(store: Limited) -> None:
    await store.set_limit(QUEUE, 4, Rate(1, 2.0))
    first = await store.pause("default", "default", paused=True)
    again = await store.pause("default", "default", paused=True)
    assert first is not None
    assert again is not None
    assert first["paused_at"] == again["paused_at"]
    row = await store.set_limit(QUEUE, 5, None)
    assert row is not None
    assert (row["paused_at"], row["concurrency"], row["rate_count"]) == (first["paused_at"], 5, None)
    assert await store.limits() != Limits()


async def test_their_version_is_another_once_they_have_changed_whoever_wrote_that(store: Limited, pool: Pool) -> None:
    seen = [await store.limits_version()]
    assert await store.limits_version() == seen[0]
    await store.set_limit(QUEUE, 4, None)
    seen.append(await store.limits_version())
    await store.pause("default", "default", paused=True)
    seen.append(await store.limits_version())
    for statement in ("delete from milepost.limits", "truncate milepost.limits"):
        await pool.execute(statement)
        seen.append(await store.limits_version())
    assert len(set(seen)) == 5


async def test_a_tenant_sees_the_limits_its_tasks_stand_under_and_no_others(pool: Pool, store: Limited) -> None:
    own = [Name("default", scope, "x") for scope in (Scope.QUEUE, Scope.TYPE, Scope.KEY)]
    all_ = [Name(EVERYBODY, Scope.QUEUE, "x"), Name(EVERYBODY, Scope.TYPE, "x")]
    tenants = [Name(EVERYBODY, Scope.TENANT, "default"), Name(EVERYBODY, Scope.TENANT, EACH)]
    others = [name._replace(owner="another") for name in own] + [Name(EVERYBODY, Scope.TENANT, "another")]
    for name in [*own, *all_, *tenants, *others]:
        await store.set_limit(name, 1, None)
    found = [limit.name for limit, _ in await Queues(pool).limit_rows("default")]
    assert sorted(found) == sorted([*own, *all_, *tenants])


async def test_nobody_makes_limits_without_end_and_those_without_a_bound_go(
    store: Limited, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.store.limits.LIMITS_MOST", 3)
    keys = [Name("default", Scope.KEY, f"k{n}") for n in range(5)]
    assert [await store.set_limit(key, 1, None) is not None for key in keys] == [True, True, True, False, False]
    assert await store.pause("default", "q", paused=True) is None
    assert await store.set_limit(keys[0], 2, None) is not None, "one that is there can be changed"
    assert await store.set_limit(Name("another", Scope.KEY, "k"), 1, None) is not None, "it is counted by owner"
    for key in keys[:2]:
        await store.set_limit(key, None, None)
    assert await store.set_limit(keys[4], 1, None) is not None
    left = {row["name"] for row in await pool.fetch("select name from milepost.limits where owner = 'default'")}
    assert left == {"k2", "k4"}


async def test_what_bounds_nothing_any_more_takes_no_place(
    store: Limited, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.store.limits.LIMITS_MOST", 2)
    keys = [Name("default", Scope.KEY, f"k{n}") for n in range(4)]
    for key in keys[:2]:
        await store.set_limit(key, 1, None)
    await store.set_limit(keys[0], None, None)
    assert await store.set_limit(keys[2], 1, None) is not None, "at once, not at the second try"
    await store.set_limit(keys[1], None, None)
    assert await store.pause("default", "q", paused=True) is not None
    assert await store.set_limit(keys[3], 1, None) is None, "a pause is counted"
    for n in range(5):
        assert await store.pause("default", f"q{n}", paused=False) is None
    await store.pause("default", "q", paused=False)
    for n in range(5):
        assert await store.pause("default", f"q{n}", paused=False) is not None
    left = {row["name"] for row in await pool.fetch("select name from milepost.limits")}
    assert left == {"k2", "q4"}


async def test_what_runs_of_others_is_not_read_where_a_limit_is_one_tenants(store: Limited, pool: Pool) -> None:
    await _queued(store, 1)
    await _take(await _by_turns(store))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("alter table milepost.tasks disable trigger guard")
        await connection.execute(
            "insert into milepost.tasks (id, tenant, type, queue, priority, state, max_attempts, payload, root_id)"
            " select gen_random_uuid(), 'another', 't.x', 'default', 1, 'running', 3, '{}', gen_random_uuid()"
            " from generate_series(1, 5000)"
        )
        await connection.execute("alter table milepost.tasks enable trigger guard")
    async with pool.acquire() as connection:
        await connection.execute(f"prepare counting as {sql('running')}")
        rows = await connection.fetch("explain (analyze, buffers, format json) execute counting(array['default'])")
        await connection.execute("deallocate counting")
    [plan] = orjson.loads(rows[0][0])
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 20, plan
    assert sum((await store.running(["default"])).values()) == 1
    assert sum((await store.running(None)).values()) == 5_001


async def test_what_one_claims_under_a_limit_nobody_waits_for(store: Limited) -> None:
    """A worker that hangs in the middle holds up those who share its limit, not what is under none."""
    await store.set_limit(QUEUE, 5, None)
    await _queued(store, 1)
    await _queued(store, 1, queue="other")
    hanging = await _by_turns(store, OTHER)
    async with hanging._store._transaction() as connection:
        await connection.execute("select pg_advisory_xact_lock($1)", _lock(QUEUE))
        turns = await _by_turns(store)
        assert [task.queue for task in await _take(turns)] == ["other"]
        assert list(turns.held.values()) == [None]
    assert [task.queue for task in await _take(turns)] == ["default"]
