"""Turns, pauses and limits with real services: what a worker does whose slots are taken."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from milepost.client import Client, Run
from milepost.store import open_pool
from milepost.store.connection import Pool
from milepost_schemas.queue import Reason
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.system import System, running

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

SLOTS = 4
WAITING = 10_000
NOBODY = "127.0.0.1:1"
"""An address where no Kafka will ever listen."""


class Place(NamedTuple):
    """A system with one worker of few slots, the keys of two tenants, and a look into its database."""

    system: System
    large: Client
    small: Client
    pool: Pool


@asynccontextmanager
async def _place(fresh: MakeSettings, **worker: str) -> AsyncIterator[Place]:
    made = await fresh()
    env = {"MILEPOST_CONCURRENCY": str(SLOTS)} | worker
    async with running(made, notifiers=0, worker_env=lambda _: env) as system:
        key = await _key(system, "small")
        pool = await open_pool(made, "test")
        try:
            async with system.client() as large, Client(system.url, key) as small:
                yield Place(system, large, small, pool)
        finally:
            await pool.close()


async def _key(system: System, tenant: str) -> str:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {system.key}"}) as session,
        session.post(f"{system.url}/v1/keys", json={"name": "test", "tenant": tenant}) as response,
    ):
        assert response.status == 201
        key: str = (await response.json())["key"]
        return key


async def _fill(place: Place, count: int = WAITING) -> None:
    """Have one tenant's tasks of a fifth of a second wait, and some run."""
    task = {"type": "demo.count", "payload": {"to": 1, "delay": 0.2}}
    for _ in range(count // 1000):
        assert all(isinstance(run, Run) for run in await place.large.submit_batch([task] * 1000))

    async def busy() -> bool:
        return bool(
            await place.pool.fetchval("select count(*) >= $1 from milepost.tasks where state = 'running'", SLOTS)
        )

    await eventually(busy, "a worker whose slots are taken")


async def _started_before(place: Place, run: Run) -> int:
    """Return how many tasks of the large tenant began between a task's submission and its start."""
    before: int = await place.pool.fetchval(
        "select count(*) from milepost.tasks as t, milepost.tasks as mine"
        " where mine.id = $1 and t.tenant <> mine.tenant and t.started_at > mine.created_at"
        " and t.started_at < mine.started_at",
        run.id,
    )
    return before


async def test_ten_thousand_tasks_of_one_tenant_delay_anothers_first_by_no_more_than_one_tasks_time(
    fresh: MakeSettings,
) -> None:
    async with _place(fresh) as place:
        await _fill(place)
        for _ in range(3):
            run = await place.small.submit("demo.echo", {})
            await run.result(timeout=60)
            # In one task's time each slot becomes free once.
            assert await _started_before(place, run) <= SLOTS
        hints = await _hints(place)
        assert hints < WAITING / 10, "Kafka holds no backlog"


async def _hints(place: Place) -> int:
    topic = f"{place.system.settings.topic_prefix}.work.default"
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=place.system.settings.kafka_bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in range(place.system.settings.kafka_partitions)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


async def test_turns_are_kept_without_kafka(fresh: MakeSettings) -> None:
    """Somewhat later: what is a second old is taken."""
    async with _place(fresh, MILEPOST_KAFKA_BOOTSTRAP=NOBODY) as place:
        await _fill(place, 2_000)
        run = await place.small.submit("demo.echo", {})
        await run.result(timeout=60)
        assert await _started_before(place, run) < 200


async def test_a_paused_queue_starts_nothing_and_goes_on_when_it_is_resumed(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    async with _place(fresh) as place:
        gate = tmp_path / "gate"
        first = await place.large.submit("test.gate", {"path": str(gate)})

        async def started() -> bool:
            return (await first.refresh()).state is TaskState.RUNNING

        await eventually(started, "the first to run")
        await place.large.queues.pause("default")
        await _learnt(place)
        waits = await place.large.submit("demo.echo", {})
        others = await place.small.submit("demo.echo", {})
        await others.result(timeout=30)
        found = await place.large.queues.explain(waits.id)
        assert (found.reason, found.state) == (Reason.PAUSED, TaskState.QUEUED)
        gate.touch()
        await first.result(timeout=30)
        assert (await waits.refresh()).state is TaskState.QUEUED
        await place.large.queues.resume("default")
        await waits.result(timeout=30)


async def test_tasks_of_one_key_run_one_at_a_time_and_the_next_follows_at_once(fresh: MakeSettings) -> None:
    async with _place(fresh) as place:
        await place.large.queues.limit("key", concurrency=1)
        await _learnt(place)
        runs = [await place.large.submit("demo.count", {"to": 1, "delay": 0.05}, key="k") for _ in range(12)]
        free = await place.large.submit("demo.echo", {}, key="other")
        await free.result(timeout=30)
        for run in runs:
            await run.result(timeout=60)
        together = await place.pool.fetchval(
            "select count(*) from milepost.tasks as a join milepost.tasks as b on a.key = b.key and a.id < b.id"
            " where a.key = 'k' and a.started_at < b.finished_at and b.started_at < a.finished_at"
        )
        assert together == 0
        found = await place.large.queues.explain(runs[0].id)
        assert found.reason is Reason.OVER


async def test_a_task_behind_a_limit_says_who_holds_it(fresh: MakeSettings, tmp_path: Path) -> None:
    async with _place(fresh) as place:
        await place.large.queues.limit("type", "test.gate", concurrency=1)
        await _learnt(place)
        gate = tmp_path / "gate"
        runs = [await place.large.submit("test.gate", {"path": str(gate)}) for _ in range(2)]

        async def one_runs() -> bool:
            return sorted([(await run.refresh()).state for run in runs]) == [TaskState.QUEUED, TaskState.RUNNING]

        await eventually(one_runs, "one of two to run")
        held = next(run for run in runs if run.task.state is TaskState.QUEUED)
        holder = next(run for run in runs if run is not held)
        found = await place.large.queues.explain(held.id)
        assert found.reason is Reason.LIMIT
        assert found.limit is not None
        assert found.limit.held_by == [holder.id]
        assert (found.limit.running, found.limit.limit.concurrency) == (1, 1)
        lease = (await place.large.queues.explain(holder.id)).lease
        assert lease is not None
        assert lease.name is not None
        gate.touch()
        await held.result(timeout=30)


async def _learnt(place: Place) -> None:
    """Wait until the worker knows what was set: it says so in its log."""
    worker = place.system.workers[0]

    async def said() -> bool:
        return any("limits have changed" in line for line in worker.log_tail(200))

    await eventually(said, "the worker to learn of limits")
