"""SIGTERM: nothing more is claimed, what can end does, the rest goes elsewhere, and nobody pays for it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from milepost.client import Client, Run
from milepost.embedded import Stack
from milepost.embedded.ports import allocate
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.faults.watching import owner, runs, told
from tests.system import System, opened_store, running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

TASKS = "milepost.demo,tests.tasks,tests.blocking_tasks"
ELSEWHERE_S = 2.0


async def _released(system: System, run: Run) -> float:
    """Wait until a task that was given back runs again; return the seconds it took by the database's clock."""
    found: list[float] = []
    async with opened_store(system.settings) as store:

        async def check() -> bool:
            rows = await store._pool.fetch(
                "select extract(epoch from t.started_at - a.finished_at) as took"
                " from milepost.tasks as t join milepost.attempts as a on a.task_id = t.id"
                " where t.id = $1 and t.state = 'running' and a.outcome = 'released' and t.started_at >= a.finished_at",
                run.id,
            )
            found[:] = [float(row["took"]) for row in rows]
            return bool(found)

        await eventually(check, "a released task to start elsewhere", 20)
    return max(found)


async def _exited(pid: int, within_s: float) -> float:
    """Wait for the end of a process that was just told to stop; return the seconds it took."""
    began = time.monotonic()

    async def check() -> bool:
        return not psutil.pid_exists(pid)

    await eventually(check, f"process {pid} to end", within_s)
    return time.monotonic() - began


async def test_a_drain_lets_short_tasks_end_and_gives_the_others_to_somebody_else_at_once(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    types = ["test.gate", "test.process_gate"]
    env = {"MILEPOST_DRAIN": "1"}
    async with running(await fresh(), workers=1, env=env) as system, system.client() as client:
        long = [await client.submit(type_, {"path": str(gate)}) for type_ in types]
        short = [await client.submit("demo.count", {"to": 3, "delay": 0.1}) for _ in range(5)]
        await runs(client, *long)
        first = system.workers[0]
        # The next one is there already, as in a rolling restart.
        await _another(system, first.pid)
        psutil.Process(first.pid).terminate()
        await told(first, "draining")
        assert [await run.result(timeout=20) for run in short] == [{"count": 3}] * 5
        took = [await _released(system, run) for run in long]
        print(f"released tasks ran elsewhere after {max(took):.2f} s")  # noqa: T201 - the figure
        assert max(took) <= ELSEWHERE_S
        gate.touch()
        for run in long:
            await run.result(timeout=20)
        for run in [*long, *short]:
            assert (await run.refresh()).attempt == 1


async def _another(system: System, but: int) -> None:
    """Start one more worker and wait until it takes tasks."""
    worker = system._process("worker-next", "milepost_worker")
    system.workers.append(worker)
    await worker.start()
    await told(worker, "reading work topics", 120)
    assert worker.pid != but


@pytest.mark.long
async def test_released_tasks_start_elsewhere_at_once_also_without_kafka(
    fresh: MakeSettings, stack: Stack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with (
        running(await fresh(), workers=2, env={"MILEPOST_DRAIN": "0.2"}) as system,
        system.client() as client,
    ):
        tasks = [await client.submit("test.gate", {"path": str(gate)}) for _ in range(4)]
        await runs(client, *tasks)
        owners = [await owner(system, run) for run in tasks]
        await stack.kafka[0].stop()
        try:
            psutil.Process(system.workers[owners[0]].pid).terminate()
            took = [await _released(system, run) for run, at in zip(tasks, owners, strict=True) if at == owners[0]]
            print(f"without Kafka released tasks ran elsewhere after {max(took):.2f} s")  # noqa: T201 - the figure
            assert max(took) <= ELSEWHERE_S
            gate.touch()

            async def done() -> bool:
                return all([(await run.refresh()).state is TaskState.SUCCEEDED for run in tasks])

            await eventually(done, "all tasks to end", 30)
            assert [(await run.refresh()).attempt for run in tasks] == [1] * 4
        finally:
            await stack.kafka[0].start()


@pytest.mark.long
async def test_a_second_signal_hurries_also_while_outcomes_wait_for_postgres(
    fresh: MakeSettings, stack: Stack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with running(await fresh(), workers=1, env={"MILEPOST_DRAIN": "0"}) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        await runs(client, run)
        worker = system.workers[0]
        pid = worker.pid
        stack.postgres.kill()
        try:
            psutil.Process(pid).send_signal(signal.SIGTERM)
            await told(worker, "Postgres is away; the outcome is kept")
            psutil.Process(pid).send_signal(signal.SIGTERM)
            took = await _exited(pid, 15)
        finally:
            await stack.postgres.start()
        print(f"in a hurry, and without Postgres, a worker ended after {took:.1f} s")  # noqa: T201 - the figure
        assert worker.returncode == 0
        gate.touch()
        await worker.start()
        await run.result(timeout=30)


async def test_readiness_goes_false_before_anything_else_in_a_drain(fresh: MakeSettings, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    settings = await fresh()
    port = allocate(["worker"], {}, settings.home / "run" / "worker-port.json")["worker"]
    env = {"MILEPOST_WORKER_HTTP_PORT": str(port), "MILEPOST_DRAIN": "60"}
    async with running(settings, workers=1, env=env) as system, system.client() as client:
        url = f"http://127.0.0.1:{port}"
        await system.ready(url)
        run = await client.submit("test.gate", {"path": str(gate)})
        await runs(client, run)
        psutil.Process(system.workers[0].pid).terminate()
        async with aiohttp.ClientSession() as session:

            async def unready() -> bool:
                async with session.get(f"{url}/readyz") as response:
                    return response.status == 503 and (await response.json())["status"] == "draining"

            await eventually(unready, "the worker to say that it drains", 10)
            async with session.get(f"{url}/livez") as response:
                assert response.status == 200
        later = await client.submit("demo.echo", {})
        gate.touch()
        assert await run.result(timeout=20) == {"attempt": 1}
        await system.workers[0].wait()
        assert (await later.refresh()).state is TaskState.QUEUED, "a draining worker claims nothing"


@pytest.mark.long
async def test_a_worker_ends_although_a_handler_waits_in_a_thread_for_ever(fresh: MakeSettings, tmp_path: Path) -> None:
    env = {"MILEPOST_DRAIN": "0"}
    async with running(await fresh(), workers=1, tasks=TASKS, env=env) as system, system.client() as client:
        run = await client.submit("block.thread", {"path": str(tmp_path / "never"), "at_most": 600})
        await runs(client, run)
        [worker] = system.workers
        psutil.Process(worker.pid).terminate()

        async def has_ended() -> bool:
            return worker.returncode is not None

        await eventually(has_ended, "the worker to end", 25)
        assert worker.returncode == 0


@asynccontextmanager
async def _load(client: Client) -> AsyncIterator[list[Run]]:
    """Submit tasks of several lengths all the time inside the block."""
    submitted: list[Run] = []

    async def submit() -> None:
        number = 0
        while True:
            number += 1
            spec = {"to": 1 + number % 4, "delay": 0.2 * (number % 3)}
            submitted.append(await client.submit("demo.count", spec))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(submit())
    try:
        yield submitted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.long
async def test_a_rolling_restart_of_all_workers_under_load_loses_doubles_and_burns_nothing(
    fresh: MakeSettings,
) -> None:
    env = {"MILEPOST_DRAIN": "0.5"}
    async with running(await fresh(), workers=3, env=env) as system, system.client() as client:
        async with _load(client) as submitted:
            for worker in system.workers:
                await worker.stop()
                assert worker.returncode == 0, worker.log_tail()
                await worker.start()
                await told(worker, "reading work topics", 120)
        for run in submitted:
            await run.result(timeout=60)
        async with opened_store(system.settings) as store:
            rows = await store._pool.fetch("select state, attempt, count(*) from milepost.tasks group by 1, 2")
            assert [(row["state"], row["attempt"]) for row in rows] == [("succeeded", 1)]
            released = await store._pool.fetchval("select count(*) from milepost.attempts where outcome = 'released'")
            others = await store._pool.fetchval("select count(*) from milepost.attempts where outcome <> 'released'")
        assert others == 0
        print(f"{len(submitted)} tasks, {released} released and run again, 0 attempts burnt")  # noqa: T201 - the figure
