"""What the benchmark does, and what it says of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import orjson

from milepost.audit.facts import Record
from milepost.audit.frames import Frames
from milepost.cli.bench import cpu
from milepost.cli.bench.figures import Percentiles, percentiles, slashed
from milepost.cli.bench.http import Connection
from milepost.cli.bench.watcher import Watcher
from milepost.errors import MilepostError


@dataclass(frozen=True, slots=True)
class Target:
    """A running system: addresses, key, and the folder with its pid files."""

    url: str
    stream_url: str
    key: str
    database_url: str
    run: Path


@dataclass(frozen=True, slots=True)
class Scenario:
    """`tasks` in all; `batch` a request; `rate` tasks a second (None: as fast as `connections` requests at once go).

    `feed`: the WebSocket has one subscription, to all tasks; otherwise one to each.
    """

    name: str
    tasks: int
    type: str = "demo.echo"
    payload: dict[str, Any] = field(default_factory=lambda: {"n": 1})
    batch: int = 1
    connections: int = 32
    rate: float | None = None
    feed: bool = False


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("single", 10_000, feed=True),
        Scenario("batch", 30_000, batch=100, connections=8, feed=True),
        Scenario("progress", 4_500, type="demo.count", payload={"to": 10, "delay": 0.2}, batch=50, rate=750),
        Scenario("latency", 2_000, rate=100),
    )
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds and counts of one run. Latencies are (p50, p95, p99) in milliseconds."""

    scenario: str
    watch: str
    tasks: int
    seconds: float
    per_second: float
    frames: int
    submit_to_start_ms: Percentiles
    submit_to_end_ms: Percentiles
    succeeded: int
    cpu_per_1000: dict[str, float]

    def text(self) -> str:
        """Return them for people."""
        return (
            f"{self.scenario}: {self.tasks:,} tasks in {self.seconds:.2f} s = {self.per_second:,.0f} tasks/s"
            f" (watched by {self.watch}, {self.frames:,} frames)\n"
            f"  submit to start, ms           p50 / p95 / p99   {slashed(self.submit_to_start_ms)}\n"
            f"  submit to terminal frame, ms  p50 / p95 / p99   {slashed(self.submit_to_end_ms)}\n"
            "  CPU s per 1,000 tasks         "
            + "  ".join(f"{name} {value:.2f}" for name, value in self.cpu_per_1000.items())
        )


async def run(target: Target, scenario: Scenario, *, timeout: float = 300.0, record: Record | None = None) -> Figures:
    """Submit, watch over one WebSocket, read the results from Postgres. Raises MilepostError if a task is missing.

    What was accepted and shown is noted in `record`, for an audit.
    """
    loop = asyncio.get_running_loop()
    submitted: dict[str, float] = {}
    connections = [await Connection.open(target.url, target.key) for _ in range(scenario.connections)]
    async with aiohttp.ClientSession() as session:
        watcher = await Watcher.open(session, target.stream_url, target.key, feed=scenario.feed)
        if record is not None:
            watcher.audited = Frames(record, scenario.name)
        reading = asyncio.create_task(watcher.run())
        before, own_before, began = cpu.used(target.run), cpu.own(), loop.time()
        to_watch: asyncio.Queue[list[str] | None] = asyncio.Queue()

        async def watch() -> None:
            while (ids := await to_watch.get()) is not None:
                await watcher.watch(ids)

        watching = asyncio.create_task(watch())

        async def submit(connection: Connection, count: int) -> None:
            at = loop.time()
            ids = await _submit(connection, scenario, count)
            submitted.update(dict.fromkeys(ids, at))
            if record is not None:
                record.answered_all(ids)
            to_watch.put_nowait(ids)

        await _paced(scenario, connections, submit) if scenario.rate else await _closed(scenario, connections, submit)
        to_watch.put_nowait(None)
        await watching
        await watcher.has_ended(len(submitted), timeout)
        ended = max(watcher.ended.values())
        after, own_after = cpu.used(target.run), cpu.own()
        reading.cancel()
    for connection in connections:
        connection.close()
    starts, succeeded = await _stored(target, list(submitted))
    if succeeded != len(submitted):
        raise MilepostError(f"{len(submitted) - succeeded} of {len(submitted)} tasks did not succeed.")
    per_1000 = 1000 / len(submitted)
    used = {name: round((after[name] - before.get(name, 0.0)) * per_1000, 3) for name in after}
    return Figures(
        scenario=scenario.name,
        watch="feed" if scenario.feed else "each",
        tasks=len(submitted),
        seconds=round(ended - began, 2),
        per_second=round(len(submitted) / (ended - began), 1),
        frames=watcher.frames,
        submit_to_start_ms=percentiles(starts),
        submit_to_end_ms=percentiles([watcher.ended[task] - at for task, at in submitted.items()]),
        succeeded=succeeded,
        cpu_per_1000=used | {"bench": round((own_after - own_before) * per_1000, 3)},
    )


Submit = Callable[[Connection, int], Awaitable[None]]


async def _closed(scenario: Scenario, connections: list[Connection], submit: Submit) -> None:
    left = scenario.tasks

    async def one(connection: Connection) -> None:
        nonlocal left
        while left > 0:
            count = min(scenario.batch, left)
            left -= count
            await submit(connection, count)

    await asyncio.gather(*(one(connection) for connection in connections))


async def _paced(scenario: Scenario, connections: list[Connection], submit: Submit) -> None:
    assert scenario.rate is not None  # noqa: S101 - the caller's branch
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    began = loop.time()

    async def one() -> None:
        connection = await free.get()
        await submit(connection, scenario.batch)
        free.put_nowait(connection)

    running = []
    for n in range(0, scenario.tasks, scenario.batch):
        await asyncio.sleep(max(0.0, began + n / scenario.rate - loop.time()))
        running.append(asyncio.create_task(one()))
    await asyncio.gather(*running)


async def _submit(connection: Connection, scenario: Scenario, count: int) -> list[str]:
    task = {"type": scenario.type, "payload": scenario.payload}
    if scenario.batch == 1:
        status, body = await connection.post("/v1/tasks", orjson.dumps(task))
        answers = [(status, body)]
        if status == 202:
            return [orjson.loads(body)["id"]]
    else:
        status, body = await connection.post("/v1/tasks/batch", orjson.dumps({"tasks": [task] * count}))
        if status == 200:
            results = orjson.loads(body)["results"]
            if all(result["status"] == 202 for result in results):
                return [result["task"]["id"] for result in results]
        answers = [(status, body)]
    raise MilepostError(f"The API answered {answers[0][0]}: {answers[0][1][:500].decode(errors='replace')}")


async def _stored(target: Target, tasks: list[str]) -> tuple[list[float], int]:
    connection = await asyncpg.connect(target.database_url)
    try:
        rows = await connection.fetch(
            "select extract(epoch from started_at - created_at)::float8 as start, state from milepost.tasks"
            " where id = any($1::uuid[])",
            [UUID(task) for task in tasks],
        )
    finally:
        await connection.close()
    return [row["start"] for row in rows], sum(row["state"] == "succeeded" for row in rows)
