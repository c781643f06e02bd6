"""Every fault test has servers of its own to break, each behind a proxy, and ends with an audit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from milepost.embedded import Stack
from milepost.embedded.ports import Ports
from milepost.log.ending import end
from tests.conftest import MakeSettings, corners_of, started_stack
from tests.scene import Scene, Wires, staged, wired

ANSWER_S = 30.0
"""A broker that was just broken may not be back yet; topics that stay are deleted after the next test."""

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


@pytest.fixture(autouse=True)
async def _topics_end(stack: Stack) -> AsyncIterator[None]:
    """Delete the topics of a test after it: with thousands of partitions the broker does little else in the end."""
    yield
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    with suppress(KafkaError, OSError, TimeoutError):
        try:
            async with asyncio.timeout(ANSWER_S):
                await admin.start()
                names = [name for name in await admin.list_topics() if not name.startswith("__")]
                await admin.delete_topics(names)
        finally:
            await end(admin)


@pytest.fixture
async def stage(fresh: MakeSettings, stack: Stack, wires: Wires) -> Stage:
    """Make a scene of its own for a test; keyword arguments are those of `staged`."""
    settings = await fresh()

    def make(**options: Any) -> AbstractAsyncContextManager[Scene]:
        return staged(settings, stack, wires, **options)

    return make
