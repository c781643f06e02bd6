"""How long submissions wait while indexes are built over a million tasks: in a transaction, and while others write."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from benchmarks.retention.turns import BODY, CONNECTIONS
from milepost.cli.bench import tasks
from milepost.cli.bench.evenly import submit_evenly
from milepost.cli.bench.figures import Percentiles, percentiles, slashed
from milepost.cli.bench.http import Connection
from milepost.runtime.settings import Settings
from milepost.store import migrate
from milepost.store.shipped import Migration, known

_VERSION: Final = 14
_BEFORE_S: Final = 1.0
"""So long only submissions come, before the building begins."""


@dataclass(frozen=True, slots=True)
class Way:
    """One turn: how the indexes were built, in how many seconds, and how long submissions took meanwhile."""

    concurrently: bool
    built_s: float
    submit_ms: Percentiles
    slowest_ms: float


@dataclass(frozen=True, slots=True)
class Migrating:
    """All turns."""

    rate: float
    ways: list[Way]

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"{self.rate:g} submissions/s while the indexes of ends are built; submit, ms  p50 / p95 / p99   slowest"
        ]
        lines += [
            f"    {'concurrently    ' if way.concurrently else 'in a transaction'}  {way.built_s:.1f} s   "
            f"{slashed(way.submit_ms)}   {way.slowest_ms:,.0f}"
            for way in self.ways
        ]
        return "\n".join(lines)


async def measure_migration(stand: Any, narrator: Any, *, rate: float, seconds: float, rounds: int) -> Migrating:
    """Measure `rounds` turns of each way, which has to be through before the `seconds` of a turn are over."""
    url = stand.servers["MILEPOST_DATABASE_URL"]
    settings = Settings.load(database_url=url)
    database = await asyncpg.connect(url)
    connections = [await Connection.open(stand.plan.url, stand.plan.key) for _ in range(CONNECTIONS)]
    (migration,) = (each for each in known() if each.version == _VERSION)
    narrator.say(f"building {', '.join(str(each.builds) for each in migration.statements())}, {rounds} times each way")

    async def concurrently() -> None:
        await migrate(settings)

    async def in_a_transaction() -> None:
        async with database.transaction():
            for statement in migration.statements():
                await database.execute(statement.sql.replace(" concurrently", ""))

    ways = []
    try:
        await submit_evenly(connections, BODY, rate, _BEFORE_S)
        for number in range(2 * rounds):
            build = (in_a_transaction, concurrently)[number % 2]
            await _drop(database, migration)
            ways.append(await _turn(url, connections, rate, seconds, build, concurrently=build is concurrently))
        await migrate(settings)
    finally:
        for connection in connections:
            connection.close()
        await database.close()
    return Migrating(rate, ways)


async def _drop(database: Any, migration: Migration) -> None:
    for statement in migration.statements():
        await database.execute(f"drop index if exists milepost.{statement.builds}")
    await database.execute("delete from milepost.migrations where version = $1", _VERSION)


async def _turn(
    url: str,
    connections: list[Connection],
    rate: float,
    seconds: float,
    build: Callable[[], Awaitable[None]],
    *,
    concurrently: bool,
) -> Way:
    loop = asyncio.get_running_loop()

    async def timed() -> float:
        await asyncio.sleep(_BEFORE_S)
        began = loop.time()
        await build()
        return loop.time() - began

    building = asyncio.create_task(timed())
    ids, took, _ = await submit_evenly(connections, BODY, rate, seconds)
    if not building.done():
        print(f"the indexes were not built within {seconds:g} s: what others waited is told for that time only")
    built_s = await building
    await tasks.have_ended(url, ids)
    return Way(concurrently, round(built_s, 1), percentiles(took), round(max(took) * 1000, 1))
