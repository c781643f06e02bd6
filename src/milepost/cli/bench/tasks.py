"""Tasks of a scenario, and when they have ended, asked of Postgres, so that watching them costs the system nothing."""

import asyncio
from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg
import orjson

from milepost.cli.bench.http import Connection
from milepost.errors import MilepostError

_LOOK_S = 0.1


async def submit(connection: Connection, body: bytes) -> str:
    """Submit one task and return its id. Raises MilepostError if it is not accepted."""
    status, answer = await connection.post("/v1/tasks", body)
    if status != 202:
        raise MilepostError(f"The API answered {status}: {answer[:500].decode(errors='replace')}")
    return str(orjson.loads(answer)["id"])


async def have_ended(database_url: str, tasks: Sequence[str], *, timeout: float = 300.0) -> dict[str, int]:
    """Wait until none of them is open; return how many are in which state. Raises TimeoutError."""
    return await _wait(database_url, tasks, {"succeeded", "failed", "cancelled"}, timeout)


async def are_running(database_url: str, tasks: Sequence[str], *, timeout: float = 60.0) -> None:
    """Wait until all of them run. Raises TimeoutError."""
    await _wait(database_url, tasks, {"running"}, timeout)


async def _wait(url: str, tasks: Sequence[str], states: Collection[str], timeout: float) -> dict[str, int]:
    ids = [UUID(task) for task in tasks]
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(timeout):
            while True:
                rows = await connection.fetch(
                    "select state, count(*) from milepost.tasks where id = any($1::uuid[]) group by state", ids
                )
                found = {row["state"]: row["count"] for row in rows}
                if sum(found.get(state, 0) for state in states) == len(ids):
                    return found
                await asyncio.sleep(_LOOK_S)
    finally:
        await connection.close()


async def failed_with(database_url: str, tasks: Sequence[str], error: str) -> list[str]:
    """Return those that failed with an error of this type."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "select id::text from milepost.tasks where id = any($1::uuid[]) and state = 'failed'"
            " and error::jsonb ->> 'type' = $2",
            [UUID(task) for task in tasks],
            error,
        )
    finally:
        await connection.close()
    return [row["id"] for row in rows]
