"""What happens to accepted work when Postgres becomes another host under it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from milepost.embedded import temporary_home
from tests.conftest import MakeSettings
from tests.standby import Pair, pair_in
from tests.system import running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    with temporary_home("pair") as home:
        async with pair_in(home) as servers:
            # The standby has what was committed, or the fail-over itself would lose it.
            await servers.ask(servers.primary, "alter system set synchronous_standby_names = '*'")
            await servers.ask(servers.primary, "select pg_reload_conf()")
            yield servers


@pytest.mark.long
async def test_services_go_on_on_the_promoted_standby_and_lose_nothing(fresh: MakeSettings, pair: Pair) -> None:
    settings = await fresh(database_url=pair.url(*(server.port for server in pair.servers)))
    async with running(settings, workers=2) as system, system.client() as client:
        runs = [await client.submit("demo.count", {"to": 5, "delay": 0.2}) for _ in range(20)]
        pair.primary.kill()
        await pair.promote()
        runs += [await client.submit("demo.count", {"to": 1, "delay": 0}) for _ in range(20)]
        results = await asyncio.gather(*(run.result(timeout=60) for run in runs))
        assert results == [{"count": 5}] * 20 + [{"count": 1}] * 20
        for run in runs:
            assert (await run.refresh()).attempt == 1
        await system.ready(system.url)


@pytest.mark.long
async def test_services_leave_a_primary_that_was_demoted_under_them(fresh: MakeSettings, pair: Pair) -> None:
    settings = await fresh(database_url=pair.url(*(server.port for server in pair.servers)))
    async with running(settings) as system, system.client() as client:
        await (await client.submit("demo.echo", {"warm": 1})).result()
        await pair.ask(pair.primary, "alter system reset synchronous_standby_names")
        await pair.caught_up()
        await pair.demote()
        await pair.promote()
        runs = [await client.submit("demo.echo", {"n": n}) for n in range(10)]
        results = await asyncio.gather(*(run.result(timeout=60) for run in runs))
        assert results == [{"n": n} for n in range(10)]
        assert await pair.ask(pair.standby, "select count(*) from milepost.tasks where state = 'succeeded'") == 11
