"""Migrations of a database that is in use; on a real Postgres, with a real SIGKILL."""

import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from milepost.errors import MilepostError, Unavailable
from milepost.runtime.settings import Settings
from milepost.store import Limited, migrate, open_pool, pending
from milepost.store.shipped import FORMERLY, known
from tests.conftest import MakeSettings, eventually
from tests.integration.store.conftest import new_task

pytestmark = pytest.mark.stack

ENDS = next(migration for migration in known() if migration.version == 14)
INDEXES = {statement.builds for statement in ENDS.statements()}
PROGRAM = (
    "import asyncio; from milepost.runtime.settings import Settings; from milepost.store import migrate;"
    "asyncio.run(migrate(Settings.load()))"
)
BUILDING = """
select pid from pg_stat_activity
where datname = current_database() and query like 'create index concurrently%' and wait_event_type = 'Lock'
"""
VALID = """
select c.relname as name, i.indisvalid as valid
from pg_index as i join pg_class as c on c.oid = i.indexrelid
where c.relnamespace = 'milepost'::regnamespace and c.relname = any($1::text[])
"""


@pytest.fixture
async def before_ends(fresh: MakeSettings) -> Settings:
    """A database that lacks the migration of the indexes of ends."""
    settings = await fresh()
    await migrate(settings)
    database = await asyncpg.connect(settings.database_url.get_secret_value())
    for name in INDEXES:
        await database.execute(f"drop index milepost.{name}")
    await database.execute("delete from milepost.migrations where version = 14")
    await database.close()
    assert await pending(settings) == [str(ENDS)]
    return settings


@pytest.fixture
async def database(before_ends: Settings) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(before_ends.database_url.get_secret_value())
    yield connection
    await connection.close()


@pytest.fixture
async def reader(before_ends: Settings) -> AsyncIterator[Any]:
    """Somebody who has been reading for long, such as a backup: an index is not valid before they have ended."""
    connection = await asyncpg.connect(before_ends.database_url.get_secret_value())
    await connection.execute("begin isolation level repeatable read")
    await connection.execute("select from milepost.tasks")
    yield connection
    await connection.close()


async def _valid(database: Any) -> dict[str, bool]:
    return {row["name"]: row["valid"] for row in await database.fetch(VALID, list(INDEXES))}


async def test_an_index_that_a_killed_migration_left_is_built_again_and_meanwhile_others_write(
    before_ends: Settings, database: Any, reader: Any
) -> None:
    env = os.environ | {"MILEPOST_DATABASE_URL": before_ends.database_url.get_secret_value()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=env)
    try:

        async def building() -> bool:
            assert process.returncode is None
            return bool(await database.fetch(BUILDING))

        await eventually(building, "an index that waits for the reader", 60)
        pool = await open_pool(before_ends, "test")
        assert len(await Limited(pool).submit([new_task()])) == 1
        await pool.close()
    finally:
        process.kill()
        await process.wait()

    async def gone() -> bool:
        return not await database.fetch(BUILDING)

    await eventually(gone, "the end of what the killed process had asked for")
    assert await _valid(database) == {"tasks_ended": False}
    await reader.execute("rollback")
    assert await migrate(before_ends) == [str(ENDS)]
    assert await _valid(database) == dict.fromkeys(INDEXES, True)


async def test_a_migration_that_waits_too_long_says_for_whom_and_can_be_run_again(
    before_ends: Settings, database: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("milepost.store.migrate"), "OTHERS_S", 1.0)
    with pytest.raises(Unavailable, match=f"{ENDS} waited for 1 s for transactions of others .* migrate again"):
        await migrate(before_ends)
    assert await pending(before_ends) == [str(ENDS)]
    await reader.execute("rollback")
    assert await migrate(before_ends) == [str(ENDS)]
    assert all((await _valid(database)).values())


async def test_a_file_that_was_changed_is_refused_unless_both_texts_came_to_the_same(
    before_ends: Settings, database: Any
) -> None:
    note = "update milepost.migrations set checksum = $2 where version = $1"
    for version, checksum in FORMERLY.items():
        await database.execute(note, version, checksum)
    assert await migrate(before_ends) == [str(ENDS)]
    await database.execute(note, 11, FORMERLY[10])
    with pytest.raises(MilepostError, match="0011_limits_version was changed after it had been applied"):
        await migrate(before_ends)
