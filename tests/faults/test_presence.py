"""A worker that is gone is found by its free lock, one that only lost its connection is not."""

import asyncio
import os
import statistics
import time
from pathlib import Path

import asyncpg
import pytest

from milepost.client import Run
from milepost.embedded import Stack
from milepost.runtime.settings import Settings
from tests.conftest import MakeSettings, eventually
from tests.faults.watching import Watch, owner, present, runs, told
from tests.scene import audited as running
from tests.system import opened_store

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

TARGET_S = 3.0
VANISHED_S = 20.0
KILLS = int(os.environ.get("KILLS", "3"))


async def _started_again(settings: Settings, run: Run, *, epoch: int, within_s: float = 12.0) -> float:
    """Wait until a task runs under a later epoch than `epoch`; return when it was started, as seconds since 1970.

    Less than a lease: so it was not the lease that told.
    """
    found: list[float] = []
    async with opened_store(settings) as store:

        async def check() -> bool:
            row = await store.get("default", run.id)
            assert row is not None
            if row["state"] == "running" and row["epoch"] > epoch:
                found.append(row["started_at"].timestamp())
            return bool(found)

        await eventually(check, "a second start", within_s)
    return found[0]


@pytest.mark.long
async def test_a_killed_workers_tasks_run_again_within_three_seconds(fresh: MakeSettings, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    took: list[float] = []
    settings = await fresh()
    async with running(settings, workers=2) as system, system.client() as client:
        for _ in range(KILLS):
            await present(system, 2)
            run = await client.submit("test.gate", {"path": str(gate)})
            watch = Watch(run)
            await watch.started()
            victim = system.workers[await owner(system, run)]
            victim.kill()
            killed_at = time.time()
            took.append(await _started_again(settings, run, epoch=1) - killed_at)
            gate.touch()
            events = await watch.end()
            assert events[-1].task.attempt == 2
            gate.unlink()
            async with opened_store(system.settings) as store:
                (row,) = await store._pool.fetch("select * from milepost.attempts where task_id = $1", run.id)
            assert (row["outcome"], row["attempt"]) == ("lease_lost", 1)
            assert "presence" in row["error"]
            await victim.start()
            # Its row of before is there for a while: only this says that somebody is there to take over the next time.
            await told(victim, "reading work topics", 120)
    print(f"taken over: p50 {statistics.median(took):.2f} s, max {max(took):.2f} s")  # noqa: T201 - the figure
    assert statistics.median(took) <= TARGET_S


async def test_all_tasks_of_a_killed_worker_are_taken_back_those_in_processes_too(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with running(await fresh(), workers=1) as system, system.client() as client:
        types = ["test.gate", "test.thread_gate", "test.process_gate"] * 2
        tasks = [await client.submit(type_, {"path": str(gate)}) for type_ in types]
        await runs(client, *tasks)
        await present(system, 1)
        system.workers[0].kill()
        await system.workers[0].start()
        for run in tasks:
            await _started_again(system.settings, run, epoch=1)
        gate.touch()
        for run in tasks:
            await run.result(timeout=30)
            assert (await run.refresh()).attempt == 2


@pytest.mark.long
async def test_a_worker_that_only_loses_its_connections_keeps_its_tasks(
    fresh: MakeSettings, stack: Stack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    settings = await fresh()
    async with running(settings, workers=2) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        await runs(client, run)
        await present(system, 2)
        admin = await asyncpg.connect(stack.postgres.admin_url)
        try:
            # Longer than two passes of the sweeper, and never with a connection that lives for long.
            for _ in range(8):
                await admin.fetch(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
                    "milepost-worker-presence",
                )
                await asyncio.sleep(0.5)
        finally:
            await admin.close()
        gate.touch()
        assert await run.result(timeout=30) == {"attempt": 1}
        assert (await run.refresh()).epoch == 1


@pytest.mark.long
async def test_without_presence_the_lease_alone_decides(fresh: MakeSettings, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    env = {"MILEPOST_PRESENCE": "false", "MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1"}
    async with running(await fresh(), workers=2, env=env) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        watch = Watch(run)
        await watch.started()
        victim = system.workers[await owner(system, run)]
        other = system.workers[1 - system.workers.index(victim)]
        victim.kill()
        assert '"error_type":"LeaseLost"' in await told(other, '"by":"sweep"')
        gate.touch()
        assert (await watch.end())[-1].task.attempt == 2


@pytest.mark.long
async def test_a_worker_that_stands_still_is_taken_for_lost_when_its_lease_ends(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    """As a machine that vanished: the lock is held, and nobody renews."""
    gate = tmp_path / "gate"
    async with running(await fresh(), workers=2) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        await runs(client, run)
        await present(system, 2)
        victim = system.workers[await owner(system, run)]
        victim.pause()
        paused_at = time.time()
        took = await _started_again(system.settings, run, epoch=1, within_s=25) - paused_at
        print(f"taken over from a worker that stood still: {took:.1f} s")  # noqa: T201 - the figure
        assert took <= VANISHED_S
        gate.touch()
        assert await run.result(timeout=30) == {"attempt": 2}
        victim.resume()
