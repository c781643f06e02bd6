"""Who is taken out of the ingest's group, and above all who is not."""

import asyncio

from redis.asyncio import Redis

from milepost.runtime.lifecycle import background
from milepost_notifier.members import ALIVE_MS, WELL_S, Members, to_expel
from tests.integration.notifier.acting import Server

GROUP = "g"


def test_only_who_was_missing_twice_is_taken_out_and_only_by_who_heard_redis_all_along() -> None:
    assert to_expel({"a", "b"}, {"b", "c"}, WELL_S) == {"b"}
    assert to_expel({"a"}, {"a"}, WELL_S - 0.1) == set()


class Other:
    """Another member, which beats as long as told."""

    def __init__(self, redis: Redis, name: str) -> None:
        self.expelled: list[str] = []
        self.out = asyncio.Event()
        self.members = Members(redis, GROUP, name, self._expel)

    async def _expel(self, dead: str) -> int:
        self.expelled.append(dead)
        self.out.set()
        return 1


async def test_a_member_that_falls_silent_is_taken_out_once_by_one_that_lives(redis: Redis) -> None:
    dead, alive = Other(redis, "dead"), Other(redis, "alive")
    async with background(("alive", alive.members.run)):
        async with background(("dead", dead.members.run)):
            async with asyncio.timeout(10):
                while await redis.scard("mp:members:g") < 2:
                    await asyncio.sleep(0.02)
        async with asyncio.timeout(ALIVE_MS / 1000 + 10):
            await alive.out.wait()
            while await redis.scard("mp:members:g") > 1:
                await asyncio.sleep(0.02)
    assert alive.expelled == ["dead"]
    assert dead.expelled == []


async def test_one_that_says_goodbye_is_not_looked_for(redis: Redis) -> None:
    gone = Other(redis, "gone")
    async with background(("gone", gone.members.run)):
        async with asyncio.timeout(10):
            while await redis.scard("mp:members:g") < 1:
                await asyncio.sleep(0.02)
    await gone.members.leave()
    assert await redis.scard("mp:members:g") == 0


async def test_nobody_is_taken_out_because_redis_stood_still(redis: Redis, redis_server: Server) -> None:
    one, two = Other(redis, "one"), Other(redis, "two")
    async with background(("one", one.members.run), ("two", two.members.run)):
        async with asyncio.timeout(10):
            while await redis.scard("mp:members:g") < 2:
                await asyncio.sleep(0.02)
        redis_server.stop()
        await asyncio.sleep(ALIVE_MS / 1000)  # so long nobody can beat, and Redis forgets
        redis_server.start()
        await redis.sadd("mp:members:g", "one", "two")  # as if it had kept who there is, but not who lives
        async with asyncio.timeout(10):
            while await redis.exists("mp:members:g:one", "mp:members:g:two") < 2:
                await asyncio.sleep(0.02)
    assert (one.expelled, two.expelled) == ([], [])
