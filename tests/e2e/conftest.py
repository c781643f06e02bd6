"""One system for all tests of this folder that do not break it."""

from collections.abc import AsyncIterator

import pytest

from milepost.client import Client
from tests.conftest import MakeSettings
from tests.system import System, running


@pytest.fixture(scope="session")
async def system(fresh: MakeSettings) -> AsyncIterator[System]:
    """An api, two workers and a notifier, which read their secrets from files."""
    async with running(await fresh(concurrency=8), workers=2, in_files=True, metrics=True) as started:
        yield started


@pytest.fixture
async def client(system: System) -> AsyncIterator[Client]:
    """A client of it."""
    async with system.client() as opened:
        yield opened
