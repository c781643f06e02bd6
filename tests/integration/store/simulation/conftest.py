"""A database of its own: the journal is a trigger, and other tests want none."""

import pytest

from milepost.runtime.settings import Settings
from milepost.store import migrate, open_pool
from tests.conftest import MakeSettings
from tests.integration.store.simulation.journal import JOURNAL


@pytest.fixture(scope="module")
async def settings(fresh: MakeSettings) -> Settings:
    made = await fresh()
    await migrate(made)
    pool = await open_pool(made, "test")
    await pool.execute(JOURNAL)
    await pool.close()
    return made
