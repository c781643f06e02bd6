"""Every fault test has servers of its own to break."""

from collections.abc import AsyncIterator

import pytest

from milepost.embedded import Stack
from tests.conftest import started_stack


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """Servers that only fault tests use; each test leaves them running."""
    async with started_stack() as running:
        yield running
