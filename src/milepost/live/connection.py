"""How every Redis client of ours connects."""

from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from milepost.runtime.settings import Settings

ANSWER_S = 2.0
"""No call waits longer for Redis."""


class _Packing:
    """Packs commands in C; redis-py's asyncio connections do it in Python, at ten times the cost."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return the bytes of one command; every argument is text, bytes or a number."""
        name = args[0]
        if isinstance(name, str) and " " in name:  # such as `SCRIPT LOAD`, which is two words on the wire
            args = (*name.split(), *args[1:])
        return [hiredis.pack_command(args)]

    def pack_commands(self, commands: Any) -> list[bytes]:
        """Return the bytes of several."""
        return [b"".join([part for command in commands for part in self.pack_command(*command)])]


class _Connection(_Packing, Connection):
    """For `redis://`."""


class _SSLConnection(_Packing, SSLConnection):
    """For `rediss://`."""


def connect(settings: Settings) -> Redis:
    """Return a client with a pool of its own; nothing is opened yet."""
    url = settings.redis_url.get_secret_value()
    pool = ConnectionPool.from_url(
        url,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        socket_keepalive=True,
        # One more try at once: a pooled connection may have died with the last server. Longer waits are the caller's.
        retry=Retry(NoBackoff(), 1),
        protocol=2,
        max_connections=32,
    )
    # The class follows from the scheme, unix:// among them: that one stays as it is.
    ours: dict[type, type] = {Connection: _Connection, SSLConnection: _SSLConnection}
    pool.connection_class = ours.get(pool.connection_class, pool.connection_class)
    return Redis.from_pool(pool)
