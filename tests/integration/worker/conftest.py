"""One system for all tests of how attempts end; none of them may harm it."""

from collections.abc import AsyncIterator

import pytest

from milepost.client import Client
from tests.conftest import MakeSettings
from tests.system import System, running


@pytest.fixture(scope="package")
async def system(fresh: MakeSettings) -> AsyncIterator[System]:
    """An api and a worker."""
    made = await fresh(kafka_partitions=1)
    async with running(made, notifiers=0, tasks="milepost.demo,tests.tasks,tests.execution_tasks") as started:
        yield started


@pytest.fixture
async def client(system: System) -> AsyncIterator[Client]:
    """A client of it."""
    async with system.client() as opened:
        yield opened
