"""A connection of a worker's own: it holds the worker's presence lock and renews its leases."""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast
from uuid import UUID

from milepost.errors import Unavailable
from milepost.store.connection import Connection, Pool, plain_uuids, server_settings, transient
from milepost.store.hosts import Hosts
from milepost.store.store import Store

CONNECT_WITHIN_S = 5.0
STATEMENT_WITHIN_S = 3.0
"""A renewal that takes longer is tried again on another connection, while there is still some lease left."""


def _keepalive(lease_s: float) -> dict[str, str]:
    """Return what makes Postgres, too, notice that a machine is gone, and let go of the lock.

    Not before the lease is over: a machine that is only cut off goes on until then, and hears nothing of it.
    """
    return {
        "tcp_keepalives_idle": str(math.ceil(lease_s / 3)),
        "tcp_keepalives_interval": str(math.ceil(lease_s / 4)),
        "tcp_keepalives_count": "3",
    }


def presence_key(worker: UUID) -> int:
    """Return the key of a worker's advisory lock: the random half of its id, as the statement `absent` computes it."""
    return int.from_bytes(worker.bytes[8:], "big", signed=True)


class Session:
    """An open connection; as a context manager it closes itself. `lost` is set when it breaks, whoever broke it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.lost = asyncio.Event()
        self._on_lost: Callable[[], None] = lambda: None
        connection.add_termination_listener(self._breaks)
        # One connection answers to the same calls as a pool.
        self.store = Store(cast("Pool", connection))

    def _breaks(self, _connection: Connection) -> None:
        self.lost.set()
        self._on_lost()

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when it breaks, or now if it is broken."""
        self._on_lost = callback
        if self.lost.is_set():
            callback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection, and so of the lock."""
        # Not closed politely: that would wait for a server that may be gone.
        self._connection.terminate()

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


async def open_session(hosts: Hosts, lease_s: float, patience_s: float | None = None) -> Session:
    """Connect to the host that takes writes; each has `patience_s` for it, None: the usual time.

    Raises Unavailable if there is none in time; NoServer, if every host says that it is none for anybody.
    """
    connection: Connection = None
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            connection = await hosts.connect_now(
                patience_s,
                command_timeout=STATEMENT_WITHIN_S + 0.5,
                server_settings=server_settings("worker-presence", STATEMENT_WITHIN_S) | _keepalive(lease_s),
            )
            async with asyncio.timeout(patience_s):
                await plain_uuids(connection)
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if isinstance(error, Exception) and not isinstance(error, Unavailable) and transient(error):
            raise _unavailable(error) from error
        raise
    return Session(connection)


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"Postgres did not answer ({type(error).__name__}). Try again in a moment.")
