"""Every fault test has servers of its own to break."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milepost.embedded import Stack


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """Servers that only fault tests use; each test leaves them running."""
    home = Path(tempfile.mkdtemp(prefix="milepost-faults-"))
    try:
        async with Stack(home) as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)
