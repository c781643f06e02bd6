"""The channels' connection to Redis."""

import asyncio

from redis.asyncio import Redis

from milepost.live import Channels
from milepost.runtime.lifecycle import background


async def _nothing() -> None:
    pass


async def test_they_end_at_once_whatever_they_are_just_doing(redis: Redis) -> None:
    loop = asyncio.get_running_loop()
    for turns in range(60):
        channels = Channels(redis, lambda _: None, _nothing)
        began = loop.time()
        async with background(("channels", channels.run)):
            await channels.watch(["one"], timeout=5)
            watching = asyncio.create_task(channels.watch(["two"], timeout=5))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            watching.cancel()
        assert loop.time() - began < 4, f"stopped {turns % 12} turns after it was asked for something"
        await asyncio.gather(watching, return_exceptions=True)
