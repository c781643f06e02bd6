"""Taking another member out of a consumer group."""

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.runtime.settings import Settings

ANSWER_S = 5.0


async def expel(settings: Settings, group: str, member: str) -> None:
    """Leave `group` in the name of `member`, as it would have if it could; nothing happens if it has gone already.

    A member that lives all the same is told at its next heartbeat, and joins again. Raises KafkaError, TimeoutError.
    """
    # A client of its own: on the connection of a consumer that joins, this would wait behind what it is to end.
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    try:
        async with asyncio.timeout(ANSWER_S):
            await admin.start()
            node = await admin.find_coordinator(group)
            request = LeaveGroupRequest(group, member)
            answer = await admin._send_request_to_node(node, request)  # noqa: SLF001 - there is no public call for it
        error: type[KafkaError] = for_code(answer.error_code)
        if answer.error_code and error is not UnknownMemberIdError:
            raise error(f"could not take {member} out of {group}")
    finally:
        await end(admin)
