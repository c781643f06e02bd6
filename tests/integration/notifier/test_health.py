"""What /livez and /readyz say of a whole edge process."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp
from redis.asyncio import Redis

from milepost.runtime.lifecycle import Shutdown
from milepost.runtime.settings import Settings
from milepost_notifier.service import build_notifier
from milepost_schemas.frames import CloseCode
from tests.integration.notifier.acting import Server, watcher_of


async def test_ready_follows_redis_and_a_drain_while_alive_stays_alive(
    settings: Settings, redis: Redis, redis_server: Server
) -> None:
    await redis.ping()
    shutdown = Shutdown()
    async with build_notifier(settings, "edge") as notifier:
        running = asyncio.create_task(notifier.run(shutdown))
        edge = notifier.edge
        assert edge is not None
        async with asyncio.timeout(10):
            while not (edge.port and edge.channels.connected):
                await asyncio.sleep(0.005)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{notifier.http_port}") as http:

            async def status(path: str) -> int:
                async with http.get(path) as response:
                    return response.status

            assert (await status("/livez"), await status("/readyz")) == (200, 200)
            redis_server.stop()
            try:
                assert (await status("/livez"), await status("/readyz")) == (200, 503)
                async with http.get("/readyz") as response:
                    redis_row = (await response.json())["dependencies"]["redis"]
                assert redis_row["since"] <= datetime.now(UTC).isoformat()
                assert "live events wait in Kafka" in redis_row["meanwhile"]
            finally:
                redis_server.start()
            async with asyncio.timeout(10):
                while await status("/readyz") != 200:
                    await asyncio.sleep(0.05)
            async with watcher_of(edge) as watcher:
                shutdown.ask()
                assert (await watcher.closed())[0] == CloseCode.DRAINING.code
            with suppress(aiohttp.ClientError):  # it may be gone already
                assert await status("/readyz") == 503
        async with asyncio.timeout(10):
            await running
