"""A mark that comes to every edge behind a batch of events, with the time of the oldest: how fresh frames are."""

from contextlib import suppress
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

EVERY_S: Final = 1.0


class Pulse:
    """What ingests send and edges hear. Nothing depends on it: one that is lost is one observation less."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """`prefix` is that of the topics: installations may share a Redis, and channels know of no databases."""
        self._redis = redis
        self.channel = f"mp:@pulse:{prefix}"
        """No tenant's name begins so."""
        self.name = self.channel.encode()
        """The channel as messages name it."""
        self._next_at = 0.0

    def due(self, now: float) -> bool:
        """Return whether the next is to be sent; `now` is by the loop's clock."""
        return now >= self._next_at

    async def send(self, time: float, now: float) -> None:
        """Say when the oldest event of a batch that every edge was told of happened, in seconds since 1970."""
        self._next_at = now + EVERY_S
        with suppress(RedisError, OSError, TimeoutError):
            await self._redis.publish(self.channel, repr(time))

    @staticmethod
    def time_in(message: bytes) -> float | None:
        """Return the time in a message; None for one that no ingest sent."""
        try:
            return float(message)
        except ValueError:
            return None
