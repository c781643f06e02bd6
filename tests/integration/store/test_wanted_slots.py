"""The query by which KEDA scales a pool of workers, on a real Postgres: what can run counts, and nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from benchmarks.autoscale.wanted import wanted
from milepost.domain.limits import EACH, EVERYBODY, Name, Rate, Scope
from milepost.embedded import Stack
from milepost.runtime.settings import Settings
from milepost.store import Claimed, Limited
from milepost.store.by_turns import ByTurns
from milepost.store.connection import Pool
from milepost_schemas import Priority
from tests.integration.store.conftest import WORKER, new_task

pytestmark = pytest.mark.stack

MOST = 100
QUEUE = Name("default", Scope.QUEUE, "default")


async def _slots(pool: Pool, *queues: str, most: int = MOST, within_s: float = 10.0) -> float:
    """Ask as KEDA does."""
    value: float = await pool.fetchval(wanted(queues or ["default"], most=most, within_s=within_s))
    return value


async def _queued(store: Limited, count: int, **overrides: object) -> None:
    await store.submit([new_task(**overrides) for _ in range(count)])


async def _run(store: Limited, slots: int, worker: UUID = WORKER) -> list[Claimed]:
    turns = ByTurns(store, worker, 15.0, ["default", "other"], ["t.x", "t.y"])
    turns.limits = await store.limits()
    claimed: list[Claimed] = []
    more = True
    while more and len(claimed) < slots:
        turns.look_again()
        some, more = await turns.take(slots - len(claimed))
        claimed += some
    return claimed


async def _beats(pool: Pool, *, types: Sequence[str] = ("t.x",), rates: str | None = None, ago_s: float = 0.0) -> None:
    """Let a worker of the queue `default` be alive."""
    await pool.execute(
        "insert into milepost.workers (id, name, host, pid, version, queues, types, slots, rates, seen_at)"
        " values ($1, 'w', 'h', 1, '0', array['default'], $2::text[], 16, $3::json, now() - $4 * interval '1 second')"
        " on conflict (id) do update set types = excluded.types, rates = excluded.rates, seen_at = excluded.seen_at",
        WORKER,
        list(types),
        rates,
        ago_s,
    )


async def test_nothing_to_do_wants_no_worker(store: Limited, pool: Pool) -> None:
    assert await _slots(pool) == 0
    await _queued(store, 3, queue="other")
    assert await _slots(pool) == 0
    assert await _slots(pool, "default", "other") == 3


async def test_what_waits_and_what_runs_counts_up_to_the_most_there_may_be(store: Limited, pool: Pool) -> None:
    await _queued(store, 5)
    await _queued(store, 4, tenant="another", priority=Priority.LOW)
    await _queued(store, 2, key="k", type="t.y", priority=Priority.HIGH)
    assert await _slots(pool) == 11
    assert len(await _run(store, 7)) == 7
    assert await _slots(pool) == 11
    assert await _slots(pool, most=8) == 8


async def test_tasks_that_are_not_due_yet_do_not_count(store: Limited, pool: Pool) -> None:
    await _queued(store, 5, delay=60.0)
    await _queued(store, 5, run_at=datetime(2200, 1, 1, tzinfo=UTC))
    assert await _slots(pool) == 0


@pytest.mark.parametrize("owner", ["default", EVERYBODY])
async def test_a_paused_queue_starts_nobody(store: Limited, pool: Pool, owner: str) -> None:
    await _queued(store, 5)
    await _queued(store, 2, tenant="another")
    assert {task.tenant for task in await _run(store, 2)} == {"default", "another"}
    await store.pause(owner, "default", paused=True)
    assert await _slots(pool) == {"default": 3, EVERYBODY: 2}[owner]
    await store.pause(owner, "default", paused=False)
    assert await _slots(pool) == 7


@pytest.mark.parametrize(
    ("name", "others"),
    [
        (QUEUE, {"queue": "other"}),
        (Name(EVERYBODY, Scope.QUEUE, "default"), {"queue": "other"}),
        (Name("default", Scope.TYPE, "t.x"), {"type": "t.y"}),
        (Name(EVERYBODY, Scope.TYPE, "t.x"), {"type": "t.y"}),
        (Name("default", Scope.KEY, "k"), {"key": "l"}),
        (Name("default", Scope.KEY, EACH), {"key": None}),
        (Name(EVERYBODY, Scope.TENANT, "default"), {"tenant": "another"}),
        (Name(EVERYBODY, Scope.TENANT, EACH), {"tenant": "another", "count": 2}),
    ],
)
async def test_what_a_limit_holds_back_starts_nobody(
    store: Limited, pool: Pool, name: Name, others: dict[str, object]
) -> None:
    """What is wanted is just what workers can claim."""
    await store.set_limit(name, 3, None)
    await _queued(store, 9, key="k")
    await _queued(store, 2, **({"key": "k"} | {what: other for what, other in others.items() if what != "count"}))
    assert await _slots(pool, "default", "other") == 5
    assert len(await _run(store, 100)) == 5
    assert await _slots(pool, "default", "other") == 5


async def test_limits_that_cross_are_all_kept(store: Limited, pool: Pool) -> None:
    await store.set_limit(QUEUE, 6, None)
    await store.set_limit(Name("default", Scope.KEY, EACH), 2, None)
    await store.set_limit(Name(EVERYBODY, Scope.TYPE, "t.y"), 1, None)
    for key in ("a", "b", "c", "d"):
        await _queued(store, 5, key=key)
    assert await _slots(pool) == 6
    await _queued(store, 5, tenant="another", type="t.y")
    assert await _slots(pool) == 7


async def test_a_zero_limit_and_a_used_up_rate_start_nobody(store: Limited, pool: Pool) -> None:
    await store.set_limit(QUEUE, None, Rate(3, 3600.0))
    await _queued(store, 9)
    assert await _slots(pool) == 3
    assert len(await _run(store, 100)) == 3
    assert await _slots(pool) == 3  # those that run, and no more
    await store.set_limit(QUEUE, 0, None)
    assert await _slots(pool) == 3


async def test_a_type_that_no_worker_of_the_queue_knows_starts_nobody_unless_there_is_none_to_ask(
    store: Limited, pool: Pool
) -> None:
    await _queued(store, 5, type="t.gone")
    await _queued(store, 2)
    assert await _slots(pool) == 7
    await _beats(pool)
    assert await _slots(pool) == 2
    await _beats(pool, ago_s=60)
    assert await _slots(pool) == 7


async def test_a_backlog_that_is_about_to_be_gone_wants_no_more_and_a_slow_one_all_it_can_use(
    store: Limited, pool: Pool
) -> None:
    await _queued(store, 60)
    assert len(await _run(store, 10)) == 10
    await _beats(pool)
    assert await _slots(pool) == 60  # nothing ended yet: nobody knows
    await _beats(pool, rates='{"default": {"default": 60, "another": 40}, "other": {"default": 9}}')
    assert await _slots(pool) == 11  # 50 at 100 a second are gone in half a second, of ten
    await _beats(pool, rates='{"default": {"default": 5}}')
    assert await _slots(pool) == 20  # in ten seconds: twice as many
    await _beats(pool, rates='{"default": {"default": 0.01}}')
    assert await _slots(pool) == 60


async def test_one_is_wanted_where_something_waits_and_nothing_runs_at_that_moment(store: Limited, pool: Pool) -> None:
    await _queued(store, 5)
    await _beats(pool, rates='{"default": {"default": 500}}')
    assert await _slots(pool) == 1


async def test_many_groups_are_enough_together_though_little_of_each_is_read(store: Limited, pool: Pool) -> None:
    for number in range(60):
        await _queued(store, 5, tenant=f"tenant-{number}")
    await _queued(store, 90, tenant="large")
    assert await _slots(pool) == MOST
    await store.set_limit(Name(EVERYBODY, Scope.TENANT, EACH), 1, None)
    assert await _slots(pool) == 61


GRANTS = """
do $$ begin
    if not exists (select from pg_roles where rolname = 'keda') then create role keda login password 'k3da'; end if;
end $$;
grant usage on schema milepost to keda;
grant select (tenant, queue, type, key, priority, state, queued_at) on milepost.tasks to keda;
grant select (queues, types, rates, draining, seen_at) on milepost.workers to keda;
grant select on milepost.limits, milepost.paces to keda;
"""


async def test_it_needs_no_more_rights_than_the_docs_say(settings: Settings, store: Limited, stack: Stack) -> None:
    await _queued(store, 3, key="k")
    await store.set_limit(QUEUE, 2, Rate(9, 1.0))
    admin = await asyncpg.connect(stack.postgres.admin_url.rpartition("/")[0] + "/" + _name(settings))
    try:
        await admin.execute(GRANTS)
        await admin.execute("set role keda")
        assert await admin.fetchval(wanted(["default"], most=MOST, within_s=10.0)) == 2
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin.fetchval("select payload from milepost.tasks limit 1")
    finally:
        await admin.close()


def _name(settings: Settings) -> str:
    return settings.database_url.get_secret_value().rpartition("/")[2]


READ = """
select pg_stat_get_xact_numscans('milepost.tasks'::regclass),
    pg_stat_get_xact_tuples_returned('milepost.tasks_waiting'::regclass)
"""
"""How often this transaction read the table as a whole, and how many rows by the index of what waits."""


@pytest.mark.parametrize(
    ("count", "tenants"),
    [
        (20_000, 5),
        pytest.param(1_000_000, 5, marks=pytest.mark.long),
        pytest.param(1_000_000, 1_000, marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(600)
async def test_a_large_backlog_is_read_by_index_and_only_as_far_as_it_matters(
    store: Limited, settings: Settings, count: int, tenants: int
) -> None:
    """Asked over a plain connection, which has none of the settings our own pools plan with."""
    fill = """
        insert into milepost.tasks
            (id, tenant, type, queue, priority, state, max_attempts, payload, root_id, key, queued_at, finished_at)
        select i, 'tenant-' || n % $2, 't.' || n % 4, 'queue-' || n % 3, n % 3, s, 3, '{}', i, k, now(), f
        from (
            select milepost.new_id() as i, n, case when n % 10 < 8 then 'queued' else 'succeeded' end as s,
                case when n % 7 = 0 then 'key-' || n % 1000 end as k, case when n % 10 < 8 then null else now() end as f
            from generate_series(1, $1) as n
        ) as made
    """
    await store.set_limit(Name("tenant-1", Scope.KEY, EACH), 1, None)
    await store.set_limit(Name(EVERYBODY, Scope.TYPE, "t.1"), 9, None)
    plain = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await plain.execute("alter table milepost.tasks disable trigger user")
        await plain.fetch(fill, count, tenants)
        await plain.execute("alter table milepost.tasks enable trigger user")
        await plain.execute("vacuum analyze milepost.tasks")
        query = wanted(["queue-0", "queue-1"], most=1000, within_s=10.0)
        async with plain.transaction():
            assert await plain.fetchval(query) == 1000
            [[scans, read]] = await plain.fetch(READ)
        lines = [row[0] for row in await plain.fetch(f"explain analyze {query}")]
    finally:
        await plain.close()
    assert scans == 0
    assert 1000 < read < 100_000
    print(f"{count:,} tasks of {tenants:,} tenants, {read:,} read: {lines[-1].strip()}")  # noqa: T201 - the figure
