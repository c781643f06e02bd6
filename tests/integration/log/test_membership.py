"""Who died while it joined a group is taken out of it as soon as somebody says so."""

import asyncio
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.group import JoinGroupRequest

from milepost.log import Reader, Topics, ensure_topics
from milepost.log.connection import connection
from milepost.log.membership import expel
from milepost.runtime.settings import Settings
from tests.conftest import MakeSettings, eventually

pytestmark = [pytest.mark.stack]

GROUP = "membership"
FOR_EVER_MS = 300_000
"""Long before Kafka itself gives up a member, the tests are over."""


async def _dies_while_it_joins(settings: Settings, client_id: str) -> None:
    """Ask to join, and be gone before the group knows who reads what."""
    topics = Topics(settings.topic_prefix)
    protocol = (RoundRobinPartitionAssignor.name, RoundRobinPartitionAssignor.metadata({topics.events}).encode())
    admin: Any = AIOKafkaAdminClient(**connection(settings), client_id=client_id)
    await admin.start()
    try:
        node = await admin.find_coordinator(GROUP)

        async def join(member: str) -> Any:
            request = JoinGroupRequest(
                GROUP, FOR_EVER_MS, FOR_EVER_MS, member, None, ConsumerProtocol.PROTOCOL_TYPE, [protocol]
            )
            return await admin._send_request_to_node(node, request)

        named = await join("")
        await join(named.member_id)
    finally:
        await admin.close()


async def _waits(settings: Settings, clients: set[str]) -> bool:
    """Whether the group has these members, and waits for some of them."""
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        (described,) = await admin.describe_consumer_groups([GROUP])
        _, _, state, _, _, members = described.groups[0][:6]
        return state == "PreparingRebalance" and {member[1] for member in members} == clients
    finally:
        await admin.close()


async def _assigned(reader: Reader) -> None:
    while not reader.assigned:
        await reader.read(10, 0.1)


async def test_a_member_that_died_while_it_joined_holds_up_nobody_once_it_is_taken_out(fresh: MakeSettings) -> None:
    settings = await fresh()
    await ensure_topics(settings)
    await _dies_while_it_joins(settings, "dead")
    reader = Reader(settings, "alive", [Topics(settings.topic_prefix).events], group=GROUP, heartbeat_s=0.5)

    async def read() -> None:
        async with reader.open():
            await _assigned(reader)

    reading = asyncio.create_task(read())
    try:
        assert await expel(settings, GROUP, "nobody") == 0
        await eventually(lambda: _waits(settings, {"dead", "alive"}), "the one that lives to wait for the dead")
        assert await expel(settings, GROUP, "dead") == 1
        await asyncio.wait_for(reading, 20)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_member_that_lives_joins_again_after_it_was_taken_out(fresh: MakeSettings) -> None:
    settings = await fresh()
    await ensure_topics(settings)
    group = f"{GROUP}-again"
    reader = Reader(settings, "alive", [Topics(settings.topic_prefix).events], group=group, heartbeat_s=0.5)
    async with reader.open(), asyncio.timeout(60):
        await _assigned(reader)
        generation = reader._consumer._coordinator.generation
        assert await expel(settings, group, "alive") == 1
        while not reader.assigned or reader._consumer._coordinator.generation == generation:
            await reader.read(10, 0.1)
