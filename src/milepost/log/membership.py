"""Taking another process out of a consumer group."""

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownMemberIdError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.runtime.settings import Settings

ANSWER_S = 5.0


async def expel(settings: Settings, group: str, client_id: str) -> int:
    """Leave `group` in the name of every member with this client id, as it would have if it could; return how many.

    Also of one that has asked to join and waits: the others wait for it as long as for one that joined. A member that
    lives all the same is told at its next heartbeat, and joins again. Raises KafkaError, TimeoutError.
    """
    # A client of its own: on the connection of a consumer that joins, this would wait behind what it is to end.
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    try:
        async with asyncio.timeout(ANSWER_S):
            await admin.start()
            node = await admin.find_coordinator(group)
            members = await _members(admin, node, group, client_id)
            for member in members:
                request = LeaveGroupRequest(group, member)
                answer = await admin._send_request_to_node(node, request)  # noqa: SLF001 - there is no public call
                if for_code(answer.error_code) is not UnknownMemberIdError:
                    _check(answer.error_code, f"could not take {member} out of {group}")
    finally:
        await end(admin)
    return len(members)


async def _members(admin: Any, node: int, group: str, client_id: str) -> list[str]:
    """Return the ids the group has for members with this client id."""
    (described,) = await admin.describe_consumer_groups([group], node)
    error_code, _, _, _, _, members = described.groups[0][:6]
    _check(error_code, f"could not see who is in {group}")
    return [member[0] for member in members if member[1] == client_id]


def _check(error_code: int, what: str) -> None:
    if error_code:
        error: type[KafkaError] = for_code(error_code)
        raise error(what)
