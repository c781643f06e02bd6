"""How every Redis client of ours connects."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from milepost.runtime.settings import Settings

ANSWER_S = 2.0
"""No call waits longer for Redis."""


def connect(settings: Settings) -> Redis:
    """Return a client with a pool of its own; nothing is opened yet."""
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        socket_keepalive=True,
        # One more try at once: a pooled connection may have died with the last server. Longer waits are the caller's.
        retry=Retry(NoBackoff(), 1),
        protocol=2,
        max_connections=32,
    )
