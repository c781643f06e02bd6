"""Numbered, additive migrations, applied once, by one process at a time."""

import hashlib
import re
from importlib.resources import files
from typing import Any, NamedTuple

import asyncpg

from milepost.errors import MilepostError, Unavailable
from milepost.runtime.settings import Settings
from milepost.store.hosts import Hosts

_LOCK = 0x6D_69_6C_65  # "mile"
COMMAND_S = 600.0
"""A migration may fill a new index."""
TURN_S = 300.0
"""Another process that migrates is waited for."""
CLOSE_S = 2.0
_LEDGER = """
create schema if not exists milepost;
create table if not exists milepost.migrations (
    version int primary key, name text not null, checksum text not null, applied_at timestamptz not null default now()
)
"""


class Migration(NamedTuple):
    """One file of `migrations/`."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Of the text: an applied migration must never change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known() -> list[Migration]:
    """Return every migration this version ships, in order."""
    found = []
    for entry in files("milepost.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text()))
    return sorted(found)


async def _applied(connection: "asyncpg.Connection[Any]") -> dict[int, str]:
    exists = await connection.fetchval("select to_regclass('milepost.migrations') is not null")
    if not exists:
        return {}
    rows = await connection.fetch("select version, checksum from milepost.migrations")
    return {row["version"]: row["checksum"] for row in rows}


async def _connect(settings: Settings) -> "asyncpg.Connection[Any]":
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
        return [f"{m.version:04d}_{m.name}" for m in known() if m.version not in applied]
    finally:
        await connection.close(timeout=CLOSE_S)


async def migrate(settings: Settings) -> list[str]:
    """Apply what is missing, each file in a transaction of its own; return the names applied.

    Safe to call from many processes at once: an advisory lock makes the others wait and then find nothing to do. A
    migration gives up rather than queue behind a long transaction for more than 5 s (lock_timeout), and can be run
    again. Raises MilepostError if an applied file was changed, Unavailable if Postgres is away.
    """
    connection = await _connect(settings)
    done = []
    try:
        await connection.execute(f"set lock_timeout = '{TURN_S:.0f}s'")
        try:
            await connection.execute("select pg_advisory_lock($1)", _LOCK)
        except asyncpg.LockNotAvailableError as error:
            raise Unavailable(
                f"Another process has been migrating for more than {TURN_S:.0f} s. Nothing was changed; try again."
            ) from error
        await connection.execute("set lock_timeout = '5s'")
        await connection.execute(_LEDGER)
        applied = await _applied(connection)
        for migration in known():
            name = f"{migration.version:04d}_{migration.name}"
            if migration.version in applied:
                if applied[migration.version] != migration.checksum:
                    raise MilepostError(
                        f"Migration {name} was changed after it had been applied. Nothing was changed. "
                        "Restore the file and put the change into a new migration."
                    )
                continue
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into milepost.migrations (version, name, checksum) values ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            done.append(name)
        return done
    finally:
        await connection.close(timeout=CLOSE_S)
