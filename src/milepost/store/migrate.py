"""Numbered, additive migrations, applied once, by one process at a time."""

import asyncio
import contextlib
from typing import Final

import asyncpg

from milepost.errors import MilepostError, Unavailable
from milepost.runtime.settings import Settings
from milepost.store.connection import Connection
from milepost.store.hosts import Hosts
from milepost.store.shipped import Migration, Statement, known

_LOCK = 0x6D_69_6C_65  # "mile"
COMMAND_S: Final = 600.0
"""A statement in a transaction: it may rewrite what nobody can write to meanwhile."""
BUILD_S: Final = 4 * 3600.0
"""An index that is built while others write; it holds up nobody."""
LOCK_S: Final = 5.0
"""For so long a migration waits for a lock, for behind it everybody waits."""
OTHERS_S: Final = 600.0
"""For so long one that is built concurrently waits for transactions that began before it; behind it waits nobody."""
TURN_S: Final = 300.0
"""Another process that migrates is waited for."""
_LOOK_S: Final = 0.2
CLOSE_S: Final = 2.0
_LEDGER = """
create schema if not exists milepost;
create table if not exists milepost.migrations (
    version int primary key, name text not null, checksum text not null, applied_at timestamptz not null default now()
)
"""
_INVALID = """
select exists (select from pg_index where indexrelid = to_regclass('milepost.' || quote_ident($1)) and not indisvalid)
"""


async def _applied(connection: Connection) -> dict[int, str]:
    exists = await connection.fetchval("select to_regclass('milepost.migrations') is not null")
    if not exists:
        return {}
    rows = await connection.fetch("select version, checksum from milepost.migrations")
    return {row["version"]: row["checksum"] for row in rows}


async def _connect(settings: Settings) -> Connection:
    try:
        return await Hosts(settings.database_url.get_secret_value()).connect(command_timeout=COMMAND_S)
    except Unavailable as error:
        raise Unavailable(f"{error} Check MILEPOST_DATABASE_URL; nothing changed.") from error
    except asyncpg.PostgresError as error:
        raise Unavailable(f"Postgres refuses ({error}). Check MILEPOST_DATABASE_URL; nothing changed.") from error


async def pending(settings: Settings) -> list[str]:
    """Return names of migrations that have not been applied, in order. Raises Unavailable."""
    connection = await _connect(settings)
    try:
        applied = await _applied(connection)
        return [str(migration) for migration in known() if migration.version not in applied]
    finally:
        await connection.close(timeout=CLOSE_S)


async def migrate(settings: Settings) -> list[str]:
    """Apply what is missing, each file in a transaction of its own; return the names applied.

    Safe to call from many processes at once: an advisory lock makes the others wait and then find nothing to do. A
    migration gives up rather than queue behind a long transaction for more than LOCK_S, and can be run again. One that
    is marked `concurrently` is run statement by statement instead, while others write; what one that was killed left of
    it is dropped and built again. Raises MilepostError if an applied file was changed, Unavailable if Postgres is away
    or a lock was not to be had.
    """
    connection = await _connect(settings)
    done = []
    try:
        await _take_turn(connection)
        await connection.execute(_LEDGER)
        applied = await _applied(connection)
        for migration in known():
            if (checksum := applied.get(migration.version)) is None:
                await _apply(connection, migration)
                done.append(str(migration))
            elif not migration.is_applied_as(checksum):
                raise MilepostError(
                    f"Migration {migration} was changed after it had been applied. Nothing was changed. "
                    "Restore the file and put the change into a new migration."
                )
        return done
    finally:
        await connection.close(timeout=CLOSE_S)


async def _take_turn(connection: Connection) -> None:
    """Wait until no other process migrates; the lock is held until the connection is closed. Raises Unavailable."""
    try:
        async with asyncio.timeout(TURN_S):
            # Asked again and again, not waited for in Postgres: an index that is built concurrently waits for every
            # statement that began before, and so for one that waits for us.
            while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110 - only it knows
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise Unavailable(
            f"Another process has been migrating for more than {TURN_S:.0f} s. Nothing was changed; try again."
        ) from error
    # Whoever is killed must not build on for an hour where nobody sees it, with the lock. Servers that cannot look
    # (before 14, or not on Linux) refuse to be asked.
    with contextlib.suppress(asyncpg.PostgresError):
        await connection.execute("set client_connection_check_interval = '1s'")


async def _apply(connection: Connection, migration: Migration) -> None:
    """Apply one, and note it. Raises Unavailable if it was not to have a lock."""
    wait_s = OTHERS_S if migration.concurrent else LOCK_S
    await connection.execute(f"set lock_timeout = '{wait_s:.0f}s'")
    try:
        if migration.concurrent:
            for statement in migration.statements():
                await _run(connection, statement)
            await _note(connection, migration)
        else:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await _note(connection, migration)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise Unavailable(
            f"Migration {migration} waited for {wait_s:.0f} s for transactions of others ({error}), and gave up, so "
            "that nobody waits behind it. It was not applied, those before it were. Wait for what has run for long "
            "(`pg_stat_activity` shows it by `xact_start`) or end it, and migrate again."
        ) from error


async def _run(connection: Connection, statement: Statement) -> None:
    """Run one that builds or drops an index concurrently, whatever one that was broken off left behind."""
    # Such an index is there, is written to and answers nobody; `if not exists` would take it for the one we want.
    if statement.builds is not None and await connection.fetchval(_INVALID, statement.builds):
        await connection.execute(f'drop index concurrently milepost."{statement.builds}"', timeout=BUILD_S)
    await connection.execute(statement.sql, timeout=BUILD_S)


async def _note(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "insert into milepost.migrations (version, name, checksum) values ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )
