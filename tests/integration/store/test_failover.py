"""What a pool does when Postgres is another host now, is a standby, or does not answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from milepost.embedded import Stack, temporary_home
from milepost.errors import Unavailable
from milepost.runtime.settings import Settings
from milepost.store import Store, migrate, open_pool
from milepost.store.connection import Pool
from milepost.store.hosts import single_urls
from tests.conftest import MakeSettings, eventually
from tests.proxy import proxy_to
from tests.standby import Pair, pair_in

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    with temporary_home("pair") as home:
        async with pair_in(home) as servers:
            yield servers


async def _port(pool: Pool) -> int:
    [[port]] = await pool.fetch("select current_setting('port')::int")
    return int(port)


def settings_of(url: SecretStr) -> Settings:
    return Settings.load(database_url=url)


def test_a_url_with_several_hosts_is_taken_apart() -> None:
    assert single_urls("postgresql://u:p%40@a:1,b:2,[::1]:3/d?sslmode=require") == [
        "postgresql://u:p%40@a:1/d?sslmode=require",
        "postgresql://u:p%40@b:2/d?sslmode=require",
        "postgresql://u:p%40@[::1]:3/d?sslmode=require",
    ]
    for alone in ("postgresql://a/d", "postgresql:///d?host=/run/postgresql"):
        assert single_urls(alone) == [alone]


async def test_a_pool_follows_the_primary_over_promotion_demotion_and_death(pair: Pair) -> None:
    one, two = (server.port for server in pair.servers)
    await migrate(settings_of(pair.url(two, one)))
    pool = await open_pool(settings_of(pair.url(two, one)), "test")
    other = await open_pool(settings_of(pair.url(one, two)), "test")
    only_standby = await open_pool(settings_of(pair.url(two)), "test")
    store = Store(pool)
    try:
        # The standby is refused, wherever it stands in the URL.
        assert (await _port(pool), await _port(other)) == (one, one)
        with pytest.raises(Unavailable, match="takes no writes"):
            await Store(only_standby).ping()
        await store.ping()
        await pool.fetch("create table seen (n int)")

        # Demoted with connections open: nobody sees an error, whether it reads or writes.
        await pair.caught_up()
        await pair.demote()
        await pair.promote()
        await pool.fetch("insert into seen values (1)")
        assert await _port(pool) == two

        async def moved() -> bool:
            try:
                return await _port(other) == two
            except Unavailable:
                return False

        await eventually(moved, "a pool that only reads to leave the demoted primary")
        await Store(only_standby).ping()

        # And one that dies while there is no other is back when it is.
        await pair.standby.stop()
        with pytest.raises(Unavailable, match="takes no writes"):
            await store.ping()
        await pair.standby.start()

        async def back() -> bool:
            try:
                await store.ping()
            except Unavailable:
                return False
            return True

        await eventually(back, "Postgres to be back")
        assert [row["n"] for row in await pool.fetch("select n from seen")] == [1]
    finally:
        for each in (pool, other, only_standby):
            each.terminate()


async def test_a_transaction_that_is_refused_writes_leaves_no_connection_to_that_server(fresh: MakeSettings) -> None:
    pool = await open_pool(await fresh(), "test", size=2)

    async def servers() -> set[int]:
        rows = await asyncio.gather(*(pool.fetch("select pg_backend_pid(), pg_sleep(0.05)") for _ in range(2)))
        return {pid for [[pid, _]] in rows}

    async def refused() -> None:
        async with Store(pool)._transaction() as connection:
            await connection.execute("set transaction read only")
            await connection.execute("create table refused (n int)")

    try:
        before = await servers()
        with pytest.raises(Unavailable):
            await refused()
        assert not before & await servers()
    finally:
        pool.terminate()


async def test_a_host_that_was_cut_off_does_not_keep_the_next_from_being_asked(
    fresh: MakeSettings, stack: Stack
) -> None:
    settings = await fresh()
    loop = asyncio.get_running_loop()
    async with proxy_to(stack.postgres.port) as proxy:
        proxy.stall()
        url = settings.database_url.get_secret_value()
        both = url.replace(f":{stack.postgres.port}/", f":{proxy.port},127.0.0.1:{stack.postgres.port}/")
        pool = await open_pool(settings_of(SecretStr(both)), "test")
        try:
            began = loop.time()
            await Store(pool).ping()
            assert loop.time() - began < 3.5
            assert proxy.accepted == 1
            await asyncio.gather(*(pool.fetch("select pg_sleep(0.05)") for _ in range(8)))
            assert proxy.accepted == 1, "the host that answered last is asked first"
        finally:
            pool.terminate()


async def test_no_statement_waits_for_ever_for_a_server_that_holds_everything_back(
    fresh: MakeSettings, stack: Stack
) -> None:
    settings = await fresh()
    loop = asyncio.get_running_loop()
    async with proxy_to(stack.postgres.port) as proxy:
        url = settings.database_url.get_secret_value().replace(f":{stack.postgres.port}/", f":{proxy.port}/")
        pool = await open_pool(settings_of(SecretStr(url)), "test", size=2, statement_timeout_s=1.0)
        store = Store(pool)
        try:
            await asyncio.gather(pool.fetch("select pg_sleep(0.05)"), pool.fetch("select pg_sleep(0.05)"))
            proxy.stall()
            began = loop.time()
            # Two have a connection; the others wait for one, or for the end of another's statement.
            outcomes = await asyncio.gather(*(store.ping() for _ in range(8)), return_exceptions=True)
            assert loop.time() - began < 12
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * 8
            proxy.flow()

            async def back() -> bool:
                try:
                    await store.ping()
                except Unavailable:
                    return False
                return True

            await eventually(back, "the pool to work again")
        finally:
            pool.terminate()


async def test_many_who_want_a_database_that_is_away_knock_seldom(fresh: MakeSettings, stack: Stack) -> None:
    settings = await fresh()
    loop = asyncio.get_running_loop()
    async with proxy_to(1) as proxy:  # nobody listens there, so each connection is reset at once
        url = settings.database_url.get_secret_value().replace(f":{stack.postgres.port}/", f":{proxy.port}/")
        pool = await open_pool(settings_of(SecretStr(url)), "test")
        store = Store(pool)
        asked = 0
        began = loop.time()
        try:
            while loop.time() - began < 2.0:
                await asyncio.gather(*(store.ping() for _ in range(8)), return_exceptions=True)
                asked += 8
            assert asked > 1000
            assert proxy.accepted < 30
            proxy.target = ("127.0.0.1", stack.postgres.port)

            async def back() -> bool:
                try:
                    await store.ping()
                except Unavailable:
                    return False
                return True

            await eventually(back, "the pool to work", 3)
        finally:
            pool.terminate()
