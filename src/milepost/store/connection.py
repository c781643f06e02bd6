"""How we connect to Postgres, and which of its errors mean "not now"."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg

from milepost.errors import Unavailable
from milepost.runtime.settings import Settings

Pool = asyncpg.Pool
Connection = Any
"""asyncpg's Connection or the proxy its pool hands out; the stubs give them no common type."""

_TRANSIENT = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
)


def transient(error: BaseException) -> bool:
    """Whether the same statement may well succeed in a moment (server away, failing over, out of connections)."""
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg says so of a connection or pool that is closing, and of calls that are wrong, which never get right.
        return "clos" in str(error)
    return isinstance(error, (*_TRANSIENT, Unavailable))


async def _plain_uuids(connection: Connection) -> None:
    # asyncpg's own UUID is a subclass, which orjson does not write.
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", format="binary", encoder=lambda u: u.bytes, decoder=lambda data: UUID(bytes=data)
    )


async def _nothing_to_reset(_connection: Connection) -> None:
    """Spare each statement the round trip that resets its session: all of ours stand alone and leave nothing."""


async def open_pool(settings: Settings, service: str, *, size: int = 8, statement_timeout_s: float = 5.0) -> Pool:
    """Open a pool; no statement in it runs longer than `statement_timeout_s`.

    Connections are made when first needed, so a database that is away does not keep a service from starting.
    """
    return await asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=0,
        max_size=size,
        timeout=5.0,
        command_timeout=statement_timeout_s + 1.0,
        max_inactive_connection_lifetime=300.0,
        reset=_nothing_to_reset,
        init=_plain_uuids,
        server_settings={
            "application_name": f"milepost-{service}",
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": "10000",
            # Statements with unnest are planned for any batch size; a plan for each call would cost more than it gains.
            "plan_cache_mode": "force_generic_plan",
            # Every statement of ours is a look-up by index. Tables that grow and empty within seconds have no useful
            # statistics, and a plan that scans one (the outbox and its dead rows, say) is a slow surprise.
            "enable_seqscan": "off",
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
            "jit": "off",
        },
    )
