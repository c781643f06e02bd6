"""For each objective, how to use up its budget, fast and slow, while the others' are spared where that can be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import asyncpg

from milepost.client import Client
from tests.faults.broken import fires, meanwhile, submit
from tests.faults.watching import Watch
from tests.scene import Scene

SLOW: Final = 360
"""The slow alert looks back for three days: twelve minutes then, of which it needs those that are over."""
LOCKED_S: Final = 0.6
"""Longer than an answer may take, and shorter than the api waits for Postgres."""
STALLED_S: Final = 3.0
"""Longer than progress may be on its way."""


@fires("MilepostBudgetBurnsFast", "submit-availability")
@fires("MilepostBudgetBurnsSlow", "submit-availability", times=SLOW)
async def postgres_stopped(scene: Scene, client: Client) -> AsyncIterator[None]:
    async with meanwhile(*[lambda: submit(client, "demo.echo", {})] * 8):
        await scene.stack.postgres.stop()
        try:
            yield
        finally:
            await scene.stack.postgres.start()


@fires("MilepostBudgetBurnsFast", "submit-latency")
@fires("MilepostBudgetBurnsSlow", "submit-latency", times=SLOW)
async def tasks_locked_now_and_then(scene: Scene, client: Client) -> AsyncIterator[None]:
    db = await asyncpg.connect(scene.direct.database_url.get_secret_value(), timeout=10)

    async def lock() -> None:
        async with db.transaction():
            await db.execute("lock table milepost.tasks in exclusive mode")
            await db.execute("select pg_sleep($1)", LOCKED_S)

    try:
        async with meanwhile(lock, *[lambda: submit(client, "demo.echo", {})] * 8):
            yield
    finally:
        await db.close()


@fires("MilepostBudgetBurnsFast", "progress-freshness")
@fires("MilepostBudgetBurnsSlow", "progress-freshness", times=SLOW)
async def kafka_stalled_now_and_then(scene: Scene, client: Client) -> AsyncIterator[None]:
    run = await client.submit("demo.count", {"to": 100_000, "delay": 0.1})
    watch = Watch(run)
    await watch.started()

    async def stall() -> None:
        scene.wires.kafka.stall()
        try:
            await scene.wires.kafka.held_back()
            await asyncio.sleep(STALLED_S)  # this is the fault: progress that is on its way for so long
        finally:
            scene.wires.kafka.flow()
        told = len(watch.events)
        await watch.sees("progress that was held back", lambda events: len(events) > told)

    async with meanwhile(stall):
        yield
    await run.cancel()
    with suppress(TimeoutError):
        await watch.end()
