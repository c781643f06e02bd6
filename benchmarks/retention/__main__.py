"""`make bench-retention`: a million old tasks are deleted while others are submitted and run."""

import argparse
import asyncio
import os
import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Self

import asyncpg
import orjson

from benchmarks.retention.index import measure_index
from milepost.cli.bench import tasks
from milepost.cli.bench.evenly import submit_evenly
from milepost.cli.bench.figures import Percentiles, percentiles, slashed
from milepost.cli.bench.http import Connection
from milepost.cli.dev.command import free_base, run_stand
from milepost.cli.exits import Exit
from milepost.embedded import temporary_home

_BODY = orjson.dumps({"type": "demo.echo", "payload": {"n": 1}})
_CONNECTIONS = 32
_FILL = 50_000
# As they are after a month: each ran once, some twice, one in twenty failed, results of some hundred bytes.
_OLD = """
with made as (
    insert into milepost.tasks (
        id, tenant, type, queue, priority, state, epoch, seq, attempt, max_attempts, payload, result, error, labels,
        root_id, traceparent, idempotency_key, fingerprint, created_at, queued_at, started_at, finished_at
    )
    select
        n.id, 'tenant-' || n.n % 20, 'demo.echo', 'old-' || n.n % 3, 2,
        case when n.n % 20 = 0 then 'failed' else 'succeeded' end, 1, 2, 1, 3,
        '{"n": 1}', json_build_object('text', repeat('x', 300)),
        case when n.n % 20 = 0 then '{"type": "Refused", "message": "no", "retryable": false}'::json end,
        '{"team": "red"}', n.id, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        case when n.n % 4 = 0 then 'key-' || n.n end, case when n.n % 4 = 0 then sha256(n.n::text::bytea) end,
        n.at, n.at, n.at, n.at + interval '1 second'
    from (
        select g as n, at, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
            || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid as id
        from generate_series($1::int, $1 + $2 - 1) as g
        cross join lateral (select now() - interval '200 days' + g * interval '0.1 seconds' as at) as t
    ) as n
    returning id, finished_at
)
insert into milepost.attempts (task_id, epoch, attempt, outcome, error, started_at, finished_at)
select id, 0, 1, 'failed', '{"type": "Refused"}', finished_at, finished_at from made where random() < 0.2
"""
_SIZES = """
select c.relname as name, pg_relation_size(c.oid) as bytes, s.n_live_tup as live, s.n_dead_tup as dead,
    s.autovacuum_count as vacuums
from pg_class as c
left join pg_stat_user_tables as s on s.relid = c.oid
where c.relnamespace = 'milepost'::regnamespace
    and c.relname in ('tasks', 'tasks_pkey', 'tasks_ended', 'tasks_by_tenant', 'attempts')
order by c.relname
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn. `submit_ms`: from when a submission was due to its answer; `late_ms`: how late the load itself was."""

    deleting: bool
    submit_ms: Percentiles
    slowest_ms: float
    late_ms: Percentiles
    deleted_per_second: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What all turns gave; percentiles are the medians of turns of a kind. Sizes are bytes."""

    old: int
    rate: float
    seconds: float
    turns: list[Turn]
    alone_ms: Percentiles
    deleting_ms: Percentiles
    left: int
    before: dict[str, Any]
    after: dict[str, Any]
    later: dict[str, Any]


def main(argv: list[str]) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-retention", description=__doc__)
    parser.add_argument("--old", type=int, default=1_000_000, help="finished tasks to delete")
    parser.add_argument("--rate", type=float, default=200.0, help="submissions a second meanwhile")
    parser.add_argument("--seconds", type=float, default=12.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each kind")
    parser.add_argument(
        "--index", action="store_true", help="measure what the indexes cost those who end tasks instead"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)

    async def body(stand: Any, narrator: Any) -> Exit:
        if asked.index:
            found = await measure_index(stand.servers["MILEPOST_DATABASE_URL"])
            print(orjson.dumps(asdict(found)).decode() if asked.json else found.text())
            return Exit.DONE
        figures = await _measure(stand, narrator, asked)
        print(orjson.dumps(asdict(figures)).decode() if asked.json else _shown(figures))
        return Exit.DONE

    with temporary_home("bench-retention") as home:
        os.environ.update({"MILEPOST_LOG_LEVEL": "warning", "MILEPOST_HOME": str(home)})
        return run_stand({"workers": 1, "notifiers": 1, "port_base": free_base(), "tasks": None}, body)


async def _measure(stand: Any, narrator: Any, asked: argparse.Namespace) -> Figures:
    database = await asyncpg.connect(stand.servers["MILEPOST_DATABASE_URL"])
    pass_ = await Pass.held(stand.servers["MILEPOST_DATABASE_URL"])
    narrator.say(f"storing {asked.old:,} tasks that ended long ago")
    for first in range(0, asked.old, _FILL):
        await database.execute(_OLD, first, min(_FILL, asked.old - first))
    await database.execute("vacuum (analyze) milepost.tasks, milepost.attempts")
    before = await _sizes(database)
    narrator.say(f"submitting {asked.rate:g} tasks a second, {asked.rounds} turns of each kind")
    connections = [await Connection.open(stand.plan.url, stand.plan.key) for _ in range(_CONNECTIONS)]
    turns = []
    try:
        await submit_evenly(connections, _BODY, asked.rate, 3.0)  # so that nothing is done for the first time
        for number in range(2 * asked.rounds):
            turns.append(await _turn(stand, pass_, connections, asked, deleting=number % 2 == 1))  # noqa: PERF401
    finally:
        for connection in connections:
            connection.close()
    after = await _sizes(database)
    left = await database.fetchval("select count(*) from milepost.tasks where queue like 'old-%'")
    await database.execute("vacuum milepost.tasks, milepost.attempts")
    later = await _sizes(database)
    await database.close()
    await pass_.close()
    alone, beside = ([turn.submit_ms for turn in turns if turn.deleting is kind] for kind in (False, True))
    return Figures(
        asked.old, asked.rate, asked.seconds, turns, _medians(alone), _medians(beside), left, before, after, later
    )


async def _turn(
    stand: Any, pass_: "Pass", connections: list[Connection], asked: argparse.Namespace, *, deleting: bool
) -> Turn:
    loop = asyncio.get_running_loop()
    if deleting:
        await pass_.go_on()
    before, began = await pass_.deleted(), loop.time()
    ids, took, late = await submit_evenly(connections, _BODY, asked.rate, asked.seconds)
    rate = (await pass_.deleted() - before) / (loop.time() - began)
    if deleting:
        await pass_.hold()
    await tasks.have_ended(stand.servers["MILEPOST_DATABASE_URL"], ids)
    return Turn(deleting, percentiles(took), round(max(took) * 1000, 1), percentiles(late), round(rate, 1))


class Pass:
    """The workers' pass over old tasks, held back as a worker would that is at it and does not move."""

    def __init__(self, holder: Any, reader: Any) -> None:
        self._holder = holder
        self._reader = reader

    @classmethod
    async def held(cls, database_url: str) -> Self:
        """Hold it."""
        made = cls(await asyncpg.connect(database_url), await asyncpg.connect(database_url))
        await made.hold()
        return made

    async def hold(self) -> None:
        """Keep workers from it."""
        await self._holder.execute("begin")
        await self._holder.execute("select from milepost.retention_pass for update")

    async def go_on(self) -> None:
        """Let workers at it, and return when one is."""
        before = await self.deleted()
        await self._holder.execute("rollback")
        async with asyncio.timeout(90.0):
            while True:
                await asyncio.sleep(0.05)
                if await self.deleted() != before:
                    return

    async def deleted(self) -> int:
        """Return how many tasks were deleted so far."""
        count: int = await self._reader.fetchval("select deleted from milepost.retention_pass")
        return count

    async def close(self) -> None:
        """Let go of it."""
        await self._holder.close()
        await self._reader.close()


async def _sizes(database: Any) -> dict[str, Any]:
    # What a vacuum said of itself is counted when its session is idle.
    await asyncio.sleep(1.0)
    return {row["name"]: dict(row.items()) for row in await database.fetch(_SIZES)}


def _medians(all_ms: list[Percentiles]) -> Percentiles:
    p50, p95, p99 = (round(median(each[n] for each in all_ms), 1) for n in range(3))
    return p50, p95, p99


def _shown(figures: Figures) -> str:
    lines = [
        f"{figures.old:,} old tasks, {figures.rate:g} submissions/s for {figures.seconds:g} s a turn",
        "  submit, ms  p50 / p95 / p99   slowest   the load was late by   deleted/s",
    ]
    lines += [
        f"    {'deleting' if turn.deleting else 'alone   '}  {slashed(turn.submit_ms)}   {turn.slowest_ms:,.1f}"
        f"   {slashed(turn.late_ms)}   {turn.deleted_per_second:,.0f}"
        for turn in figures.turns
    ]
    lines.append(f"  medians     alone {slashed(figures.alone_ms)}   deleting {slashed(figures.deleting_ms)}")
    lines.append(f"  left of the old: {figures.left:,}")
    for said, sizes in (("before", figures.before), ("after", figures.after), ("vacuumed", figures.later)):
        shown = ", ".join(
            f"{name} {row['bytes'] / 2**20:,.0f} MiB"
            + (
                ""
                if row["live"] is None
                else f" ({row['live']:,} rows, {row['dead']:,} dead, {row['vacuums']} autovacuums)"
            )
            for name, row in sizes.items()
        )
        lines.append(f"  {said}: {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
