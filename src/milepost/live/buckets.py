"""Buckets that all instances take from."""

import hashlib
from importlib.resources import files
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from milepost.errors import Unavailable

_SCRIPT: Final = files("milepost.live").joinpath("bucket.lua").read_text()
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Taken(NamedTuple):
    """What a bucket gave, and what is left in it. `wait`: seconds until there is one; 0: there is."""

    granted: int
    left: int
    wait: float


class Buckets:
    """Token buckets in Redis, each changed by one call of a script."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def take(self, name: str, size: int, per: float, wanted: int) -> Taken:
        """Take up to `wanted` from a bucket of that size, which fills within `per` seconds. Raises Unavailable."""
        key = "mp:bucket:" + name
        try:
            try:
                granted, left, wait_ms = await self._redis.evalsha(_SHA, 1, key, size, per, wanted)
            except NoScriptError:
                granted, left, wait_ms = await self._redis.eval(_SCRIPT, 1, key, size, per, wanted)
        except (RedisError, OSError) as error:
            raise Unavailable("Redis does not answer, where requests are counted.") from error
        return Taken(granted, left, wait_ms / 1000)
