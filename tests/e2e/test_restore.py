"""A dump of Postgres is all it takes: restored beside an empty Kafka and an empty Redis, everything goes on."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer

from milepost.client import Client
from milepost.embedded.postgres import find_programs
from milepost.log.connection import connection
from milepost.runtime.settings import Settings
from milepost.store import Claimed, Finish, Held, Limited, NewTask, Retry, WorkerBeat, migrate, open_pool
from milepost_schemas import TaskState
from milepost_schemas.cloudevents import header
from tests.conftest import MakeSettings
from tests.integration.store.conftest import WORKER, new_task
from tests.system import running

pytestmark = pytest.mark.stack

PATIENCE_S = 60.0


async def _program(name: str, *argv: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(find_programs() / name), *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said


async def _at_work(settings: Settings) -> dict[str, UUID]:
    """Leave tasks in every state, as a crash of everything would; return them by what they are."""
    await migrate(settings)
    pool = await open_pool(settings, "test")
    store = Limited(pool)
    tasks: dict[str, NewTask] = {
        name: new_task(type="demo.count", payload={"to": 2, "delay": 0.01})
        for name in ("queued", "running", "waiting", "finished", "told")
    }
    tasks["due"] = new_task(type="demo.count", payload={"to": 1}, delay=3600.0)

    async def claimed(name: str) -> Claimed:
        (claim,) = await store.claim(WORKER, 15.0, [Held(tasks[name].id, 0)])
        return claim

    try:
        await store.beat(WorkerBeat(WORKER, "w", "h", 1, "1", ["default"], ["demo.count"], 4, 1, draining=False))
        await store.submit(list(tasks.values()))
        await claimed("running")
        await store.retry([Retry((await claimed("waiting")).held, 1, 0.1, '{"type": "E", "message": "again"}')])
        for name in ("finished", "told"):
            await store.finish([Finish((await claimed(name)).held, 1, TaskState.SUCCEEDED, result='{"count": 2}')])
        await store.delete_outbox([Held(tasks["told"].id, 1)])
        # The restore comes later than the leases last, and a task became due meanwhile.
        await pool.execute("update milepost.tasks set lease_until = lease_until - $1::interval", timedelta(hours=1))
        await pool.execute(
            "update milepost.tasks set due_at = due_at - $1::interval where state = 'scheduled'", timedelta(hours=1)
        )
    finally:
        await pool.close()
    return {name: task.id for name, task in tasks.items()}


async def _completed(settings: Settings, wanted: set[UUID]) -> None:
    """Wait until completions of these tasks are on the new topic."""
    consumer = AIOKafkaConsumer(
        f"{settings.topic_prefix}.completions", **connection(settings), auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for record in consumer:
                wanted.discard(UUID(str(header(record.headers, "ce_id")).partition(":")[0]))
                if not wanted:
                    return
    finally:
        await consumer.stop()


async def test_a_dump_beside_an_empty_kafka_and_redis_is_a_system_that_goes_on(fresh: MakeSettings) -> None:
    before, after = await fresh(), await fresh()
    tasks = await _at_work(before)
    dump = before.home.with_suffix(".dump")
    await _program("pg_dump", "-Fc", "-f", str(dump), before.database_url.get_secret_value())
    await _program(
        "pg_restore", "--no-owner", "--exit-on-error", "-d", after.database_url.get_secret_value(), str(dump)
    )
    dump.unlink()
    async with running(after) as system, system.client() as client:
        for name, task in tasks.items():
            last = await _watched(client, task)
            assert last == TaskState.SUCCEEDED, name
        assert await client.run(tasks["told"]).result() == {"count": 2}
        assert (await client.get(tasks["running"])).attempt == 2
        await _completed(after, {task for name, task in tasks.items() if name != "told"})


async def _watched(client: Client, task: UUID) -> TaskState:
    async with asyncio.timeout(PATIENCE_S):
        return [event.task.state async for event in client.run(task).watch()][-1]
