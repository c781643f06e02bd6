"""Submissions at a steady pace, whatever the system makes of it."""

import asyncio
from collections.abc import Sequence

from milepost.cli.bench import tasks
from milepost.cli.bench.http import Connection


async def submit_evenly(
    connections: Sequence[Connection], body: bytes, rate: float, seconds: float
) -> tuple[list[str], list[float], list[float]]:
    """Submit `rate` tasks a second; return the ids, the seconds each took, and the seconds the load was late for each.

    What one took counts from when it was due and the load awake, a wait for a connection included.
    """
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    ids: list[str] = []
    took: list[float] = []
    late: list[float] = []

    async def one(since: float) -> None:
        connection = await free.get()
        ids.append(await tasks.submit(connection, body))
        took.append(loop.time() - since)
        free.put_nowait(connection)

    began = loop.time()
    async with asyncio.TaskGroup() as running:
        for n in range(max(1, round(seconds * rate))):
            due = began + n / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            since = loop.time()
            late.append(since - due)
            running.create_task(one(since))
    return ids, took, late
