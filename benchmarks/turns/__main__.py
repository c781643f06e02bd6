"""`make bench-turns`: a tenant with 100,000 tasks in front, and how long another's first task waits."""

import argparse
import asyncio
import os
import sys
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Any

import aiohttp
import asyncpg
import orjson

from milepost.cli.dev.command import free_base, run_stand
from milepost.cli.exits import Exit
from milepost.client import Client
from milepost.embedded import temporary_home

BATCH = 1_000
_BETWEEN = """
select extract(epoch from mine.started_at - mine.created_at)::float8 * 1000 as wait_ms, (
    select count(*)
    from milepost.tasks as t
    where t.tenant <> mine.tenant and t.started_at > mine.created_at and t.started_at < mine.started_at
) as before
from milepost.tasks as mine
where mine.id = $1
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds, and tasks of the other tenant that began in between."""

    waiting: int
    slots: int
    task_ms: float
    tries: int
    wait_ms_p50: float
    wait_ms_max: float
    before_p50: float
    before_max: int
    submitted_per_second: float
    ended_per_second: float
    hints_in_kafka: int


def main(argv: list[str]) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-turns", description=__doc__)
    parser.add_argument("--waiting", type=int, default=100_000, help="tasks in front")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--task-ms", type=float, default=100.0, help="how long one of them takes")
    parser.add_argument("--tries", type=int, default=30, help="first tasks of the other tenant, one after the other")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)

    async def body(stand: Any, narrator: Any) -> Exit:
        figures = await _measure(stand, narrator, asked)
        print(orjson.dumps(asdict(figures)).decode() if asked.json else _shown(figures))
        within = figures.before_max <= figures.slots
        return Exit.DONE if within else Exit.FAILED

    with temporary_home("bench-turns") as home:
        os.environ.update(
            {"MILEPOST_CONCURRENCY": str(asked.slots), "MILEPOST_LOG_LEVEL": "warning", "MILEPOST_HOME": str(home)}
        )
        return run_stand({"workers": 1, "notifiers": 1, "port_base": free_base(), "tasks": None}, body)


async def _measure(stand: Any, narrator: Any, asked: argparse.Namespace) -> Figures:
    plan = stand.plan
    loop = asyncio.get_running_loop()
    key = await _key(plan.url, plan.key, "small")
    connection = await asyncpg.connect(stand.servers["MILEPOST_DATABASE_URL"])
    task = {"type": "demo.count", "payload": {"to": 1, "delay": asked.task_ms / 1000}}
    async with Client(plan.url, plan.key) as large, Client(plan.url, key) as small:
        narrator.say(f"submitting {asked.waiting:,} tasks of one tenant")
        began = loop.time()
        for _ in range(0, asked.waiting, BATCH):
            await large.submit_batch([task] * BATCH)
        submitted = asked.waiting / (loop.time() - began)
        narrator.say("submitting first tasks of another")
        rows = []
        began, ended = loop.time(), await _ended(connection)
        for _ in range(asked.tries):
            run = await small.submit("demo.echo", {})
            await run.result(timeout=60)
            rows += await connection.fetch(_BETWEEN, run.id)
            await asyncio.sleep(0.05)
        rate = (await _ended(connection) - ended) / (loop.time() - began)
        hints = await _hints(stand)
    await connection.close()
    waits = [row["wait_ms"] for row in rows]
    before = [row["before"] for row in rows]
    return Figures(
        asked.waiting,
        asked.slots,
        asked.task_ms,
        asked.tries,
        round(quantiles(waits, n=2)[0], 1),
        round(max(waits), 1),
        quantiles(before, n=2)[0],
        max(before),
        round(submitted, 1),
        round(rate, 1),
        hints,
    )


async def _key(url: str, key: str, tenant: str) -> str:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        session.post(f"{url}/v1/keys", json={"name": "bench", "tenant": tenant}) as response,
    ):
        response.raise_for_status()
        made: str = (await response.json())["key"]
        return made


async def _ended(connection: Any) -> int:
    count: int = await connection.fetchval("select count(*) from milepost.tasks where finished_at is not null")
    return count


async def _hints(stand: Any) -> int:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer: Any = AIOKafkaConsumer(bootstrap_servers=stand.servers["MILEPOST_KAFKA_BOOTSTRAP"])
    await consumer.start()
    try:
        partitions = [TopicPartition("milepost.work.default", n) for n in range(8)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


def _shown(figures: Figures) -> str:
    return (
        f"{figures.waiting:,} tasks of one tenant in front, {figures.slots} slots, {figures.task_ms:g} ms a task:\n"
        f"  another's first task waits, ms   p50 {figures.wait_ms_p50:,.1f}   max {figures.wait_ms_max:,.1f}\n"
        f"  tasks that began before it       p50 {figures.before_p50:g}   max {figures.before_max}"
        f" (one task's time: {figures.slots})\n"
        f"  submitted {figures.submitted_per_second:,.0f}/s, ended {figures.ended_per_second:,.0f}/s, "
        f"hints sent to Kafka {figures.hints_in_kafka:,}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
