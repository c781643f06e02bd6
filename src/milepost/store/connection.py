"""How we connect to Postgres, and which of its errors mean "not now"."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from milepost.errors import Unavailable
from milepost.runtime.settings import Settings
from milepost.store.hosts import Hosts

Connection = Any
"""asyncpg's Connection or the proxy its pool hands out; the stubs give them no common type."""

ACQUIRE_S = 5.0
"""A connection is waited for so long: for one that is free, or for a new one."""
RELEASE_S = 2.0

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


async def plain_uuids(connection: Connection) -> None:
    """Make a new connection give and take the UUIDs of the standard library."""
    # asyncpg's own UUID is a subclass, which orjson does not write.
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", format="binary", encoder=lambda u: u.bytes, decoder=lambda data: UUID(bytes=data)
    )


async def _nothing_to_reset(_connection: Connection) -> None:
    """Spare each use the round trip that resets its session: nothing of ours outlives its statement or transaction.

    Of a transaction that was broken off asyncpg rolls back what is open; locks are those of the transaction.
    """


async def _refuse_standby(connection: Connection) -> None:
    """Raise Unavailable if the server said meanwhile that it takes no writes any more; the pool then closes it.

    Postgres (14 and later) tells by itself, so this asks nobody.
    """
    told = connection.get_settings()
    if "on" in {getattr(told, "in_hot_standby", "off"), getattr(told, "default_transaction_read_only", "off")}:
        raise Unavailable("Postgres takes no writes (a standby, or a demoted primary). Try again in a moment.")


class Pool(asyncpg.Pool):
    """asyncpg's, with a bound on every wait, and without connections to servers that take no writes."""

    waiting = 0
    """Statements that wait for a connection now."""

    async def fetch(self, query: str, *args: Any, **_options: Any) -> list[Any]:
        """Run a statement.

        One that was refused because the server takes no writes did nothing: it is run once more, on a new connection.
        Raises whatever asyncpg raises, TimeoutError, Unavailable.
        """
        try:
            return await self._run(query, args)
        except asyncpg.ReadOnlySQLTransactionError:
            await self._leave()
            return await self._run(query, args)

    async def _run(self, query: str, args: tuple[Any, ...]) -> list[Any]:
        async with self.held() as connection:
            rows: list[Any] = await connection.fetch(query, *args)
            return rows

    async def _leave(self) -> None:
        """Have every connection made anew: all are to the server that refused one, and not all may be told of it."""
        await self.expire_connections()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Give a connection for several statements of one transaction.

        Raises whatever asyncpg raises, TimeoutError, Unavailable. One that was refused because the server takes no
        writes did nothing; the next is on a new connection.
        """
        try:
            async with self.held() as connection, connection.transaction():
                yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            await self._leave()
            raise

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Connection]:
        """Give a connection for several statements. Raises whatever asyncpg raises, TimeoutError, Unavailable."""
        self.waiting += 1
        try:
            async with asyncio.timeout(ACQUIRE_S):
                connection = await self.acquire()
        finally:
            self.waiting -= 1
        try:
            yield connection
        finally:
            # Without a bound this waits for ever for a server that took a statement and never answers.
            await self.release(connection, timeout=RELEASE_S)


def server_settings(service: str, statement_timeout_s: float) -> dict[str, str]:
    """Return what each of our connections asks of Postgres for its session."""
    return {
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
    }


async def open_pool(settings: Settings, service: str, *, size: int = 8, statement_timeout_s: float = 5.0) -> Pool:
    """Open a pool; no statement in it runs longer than `statement_timeout_s`.

    Connections are made when first needed, so a database that is away does not keep a service from starting. All of
    them take writes; of several hosts in the URL the one is found that does.
    """
    url = settings.database_url.get_secret_value()
    return await Pool(
        url,
        connect=Hosts(url, logs=True).connect,
        min_size=0,
        max_size=size,
        max_queries=50_000,
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        command_timeout=statement_timeout_s + 1.0,
        max_inactive_connection_lifetime=300.0,
        reset=_nothing_to_reset,
        init=plain_uuids,
        setup=_refuse_standby,
        server_settings=server_settings(service, statement_timeout_s),
    )
