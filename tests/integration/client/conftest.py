"""A system for the client's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeSettings
from tests.system import System, running


@pytest.fixture(scope="module")
async def system(fresh: MakeSettings) -> AsyncIterator[System]:
    env = {
        "MILEPOST_MAX_SUBSCRIPTIONS": "100",
        "MILEPOST_WEBHOOK_HTTP": "true",
        "MILEPOST_WEBHOOK_PORTS": "*",
        "MILEPOST_WEBHOOK_NETWORKS": "127.0.0.1/32",
    }
    async with running(await fresh(), env=env) as system:
        yield system
