"""Every fault test has servers of its own to break, each behind a proxy, and ends with an audit."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from milepost.embedded import Stack
from milepost.embedded.ports import Ports
from tests.conftest import MakeSettings, corners_of, started_stack
from tests.scene import Scene, Wires, staged, wired

Stage = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture(scope="session")
async def wires() -> AsyncIterator[Wires]:
    """The proxies."""
    async with wired() as made:
        yield made


@pytest.fixture(scope="session")
async def stack(wires: Wires) -> AsyncIterator[Stack]:
    """Servers that only fault tests use; each test leaves them running."""
    async with started_stack(ports=Ports(kafka_advertised=wires.kafka.port)) as running:
        wires.connect(running)
        yield running


@pytest.fixture(scope="session")
def fresh(stack: Stack) -> MakeSettings:
    """Make settings for a corner of these servers, and not of those that other tests share."""
    return corners_of(stack)


@pytest.fixture
async def stage(fresh: MakeSettings, stack: Stack, wires: Wires) -> Stage:
    """Make a scene of its own for a test; keyword arguments are those of `staged`."""
    settings = await fresh()

    def make(**options: Any) -> AbstractAsyncContextManager[Scene]:
        return staged(settings, stack, wires, **options)

    return make
