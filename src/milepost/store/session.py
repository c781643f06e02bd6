"""A connection of a worker's own: it holds the worker's presence lock and renews its leases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

from milepost.errors import Unavailable
from milepost.store.connection import Connection, Pool, plain_uuids, server_settings, transient
from milepost.store.hosts import Hosts
from milepost.store.store import Store

CONNECT_WITHIN_S = 5.0
STATEMENT_WITHIN_S = 3.0
"""A renewal that takes longer is tried again on another connection, while there is still some lease left."""
_KEEPALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
"""So that Postgres, too, notices within about 11 s that a machine is gone, and lets go of the lock."""


def presence_key(worker: UUID) -> int:
    """Return the key of a worker's advisory lock: the random half of its id, as the statement `absent` computes it."""
    return int.from_bytes(worker.bytes[8:], "big", signed=True)


class Session:
    """An open connection. `lost` is set when it breaks, whoever broke it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.lost = asyncio.Event()
        connection.add_termination_listener(lambda _: self.lost.set())
        # One connection answers to the same calls as a pool.
        self.store = Store(cast("Pool", connection))

    async def hold(self, worker: UUID) -> bool:
        """Take a worker's presence lock, which Postgres drops with the connection; False if another session has it.

        That is an earlier one that Postgres still believes in, or a sweeper that looks right now. Raises Unavailable.
        """
        try:
            return bool(await self._connection.fetchval("select pg_try_advisory_lock($1)", presence_key(worker)))
        except Exception as error:
            if transient(error):
                raise _unavailable(error) from error
            raise


@asynccontextmanager
async def opened_session(hosts: Hosts) -> AsyncIterator[Session]:
    """Connect for the block, to the host that takes writes. Raises Unavailable if there is none in time."""
    connection: Connection = None
    try:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                connection = await hosts.connect(
                    command_timeout=STATEMENT_WITHIN_S + 0.5,
                    server_settings=server_settings("worker-presence", STATEMENT_WITHIN_S) | _KEEPALIVE,
                )
                await plain_uuids(connection)
        except Exception as error:
            if transient(error):
                raise _unavailable(error) from error
            raise
        yield Session(connection)
    finally:
        if connection is not None:
            # Not closed politely: that would wait for a server that may be gone.
            connection.terminate()


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"Postgres did not answer ({type(error).__name__}). Try again in a moment.")
