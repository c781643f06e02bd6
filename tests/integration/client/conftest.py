"""A system for the client's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeSettings
from tests.system import System, running


@pytest.fixture(scope="module")
async def system(fresh: MakeSettings) -> AsyncIterator[System]:
    async with running(await fresh(), env={"MILEPOST_MAX_SUBSCRIPTIONS": "100"}) as system:
        yield system
