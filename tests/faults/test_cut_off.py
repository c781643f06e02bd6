"""A worker that is alive, whose connections to Postgres were reset: its lock is free, and others take it for dead.

The diary is the judge: no handler does anything after its successor began.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from milepost.audit import Facts
from milepost.domain.presence import ABSENT_S
from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.loads import varied
from tests.faults.watching import told
from tests.scene import Held, Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

SOON_S = 12.0
"""Less than a lease: so it was not the lease that told."""
AWAY_S = 3.0
"""So long Postgres is away: longer than a worker may be absent. The fault itself; there is nothing to wait for."""
NO_OTHER = "the connection to Postgres was lost and there is no other"
GATES = ["test.gate", "test.process_gate"] * 3


async def _gated(scene: Scene, gate: Path) -> list[UUID]:
    tasks = [await scene.submit({"type": type_, "payload": {"path": str(gate)}}) for type_ in GATES]
    for task in tasks:
        await scene.reaches(task, "running")
    return tasks


async def _holder(scene: Scene, tasks: list[UUID]) -> tuple[int, list[Held]]:
    """Return the number of a worker that runs some of the tasks, and these."""
    number = await scene.owner(tasks[0])
    return number, [each for each in await scene.held_by(scene.system.workers[number]) if each.task in tasks]


async def _present(scene: Scene) -> None:
    """Wait until all workers say anew that they hold their presence."""
    began = time.time()

    async def present() -> bool:
        try:
            rows = await scene.rows(
                "select 1 from milepost.workers where presence and seen_at > to_timestamp($1)", began
            )
        except (OSError, asyncpg.PostgresError):  # it recovers
            return False
        return len(rows) == len(scene.system.workers)

    await eventually(present, "all workers to be present", 30)


async def test_its_handlers_are_gone_before_others_begin(stage: Stage, tmp_path: Path) -> None:
    """Reset, and then nothing gets through; it comes back when its tasks run elsewhere."""
    gate = tmp_path / "gate"
    async with stage() as scene:
        scene.load(10, varied)
        await _present(scene)
        for _ in range(3):
            tasks = await _gated(scene, gate)
            number, held = await _holder(scene, tasks)
            scene.lines[number].stall()
            scene.lines[number].cut()
            await scene.taken_back(held, SOON_S)
            for each in held:
                await scene.reaches(each.task, "running")
            # Whatever still ran here would be seen at it.
            await asyncio.sleep(1.0)
            scene.lines[number].flow()
            await _present(scene)
            gate.touch()
            for task in tasks:
                await scene.reaches(task, "succeeded")
            gate.unlink()
        facts = await scene.passes()
        for each in held:
            assert facts.tasks[each.task].epoch > each.epoch


async def test_one_that_finds_another_connection_loses_nothing(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with stage() as scene:
        await _present(scene)
        tasks = await _gated(scene, gate)
        for _ in range(4):
            for line in scene.lines:
                line.cut()
            await _present(scene)
        gate.touch()
        facts = await scene.passes()
        # On a busy machine one may find no other in time. It says so, and stops what others are about to take.
        said = [line for worker in scene.system.workers for line in worker.log_tail(1_000_000) if NO_OTHER in line]
        _kept(facts, [task for task in tasks if not any(str(task) in line for line in said)])


async def _restarted(scene: Scene) -> None:
    await scene.stack.postgres.stop()
    await asyncio.sleep(AWAY_S)
    await scene.stack.postgres.start()


async def _killed(scene: Scene) -> None:
    scene.stack.postgres.kill()
    await asyncio.sleep(AWAY_S)
    await scene.stack.postgres.start()


async def _crashed(scene: Scene) -> None:
    """One of its processes dies, and Postgres ends all connections and recovers."""
    (row,) = await scene.rows(
        "select pid from pg_stat_activity where application_name = 'milepost-worker-presence'"
        " and datname = current_database() limit 1"
    )
    os.kill(row[0], signal.SIGKILL)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_restarted, id="restarted"),
        pytest.param(_killed, id="killed", marks=pytest.mark.long),
    ],
)
async def test_no_attempt_is_lost_when_postgres_is_away_for_everybody(
    stage: Stage, tmp_path: Path, fault: Callable[[Scene], Awaitable[None]]
) -> None:
    gate = tmp_path / "gate"
    # So that it takes no matter how long: leases are not what this is about.
    async with stage(env={"MILEPOST_LEASE": "60", "MILEPOST_RENEW": "5"}) as scene:
        await _present(scene)
        tasks = await _gated(scene, gate)
        await fault(scene)
        await _present(scene)
        # That nobody is found absent can only be waited out.
        await asyncio.sleep(2 * ABSENT_S + 0.5)
        gate.touch()
        _kept(await scene.passes(), tasks)


@pytest.mark.long
async def test_a_crash_of_one_of_its_processes_is_survived(stage: Stage, tmp_path: Path) -> None:
    """Postgres ends all connections and goes on: who is back within a second keeps its attempts, which is usual."""
    gate = tmp_path / "gate"
    async with stage() as scene:
        await _present(scene)
        tasks = await _gated(scene, gate)
        await _crashed(scene)
        await _present(scene)
        gate.touch()
        facts = await scene.passes()
        assert {facts.tasks[task].state for task in tasks} == {"succeeded"}


@pytest.mark.long
async def test_one_that_is_cut_off_while_postgres_restarts_is_judged_by_its_leases(
    stage: Stage, tmp_path: Path
) -> None:
    """It hears nothing of the restart, and its lock is free: as if it had been reset for Postgres alone."""
    gate = tmp_path / "gate"
    async with stage() as scene:
        await _present(scene)
        tasks = await _gated(scene, gate)
        number, held = await _holder(scene, tasks)
        scene.lines[number].swallow()
        await _restarted(scene)
        await scene.taken_back(held)
        for each in held:
            await scene.reaches(each.task, "running")
        # Whatever still ran here would be seen at it.
        await asyncio.sleep(1.0)
        scene.lines[number].flow()
        gate.touch()
        await scene.passes()


@pytest.mark.long
async def test_a_renewal_that_was_on_its_way_for_long_keeps_nobody_from_the_tasks(stage: Stage, tmp_path: Path) -> None:
    """The line is back when the handlers have been stopped, and what was held back gives their leases another turn."""
    gate, lease_s = tmp_path / "gate", 12.0
    async with stage(env={"MILEPOST_LEASE": str(lease_s), "MILEPOST_RENEW": "2"}) as scene:
        await _present(scene)
        tasks = await _gated(scene, gate)
        number, held = await _holder(scene, tasks)
        scene.lines[number].stall()
        await scene.lines[number].held_back()
        # All of them: what was claimed later has a later lease, and a worker that is back in time rightly keeps it.
        await told(scene.system.workers[number], "the lease is about to run out", times=len(held))
        back_at = time.time()
        scene.lines[number].flow()
        taken_at = await scene.taken_back(held)
        gate.touch()
        facts = await scene.passes()
    assert max(taken_at) - back_at < lease_s / 2, "they waited for a lease that nobody meant"
    assert {facts.tasks[task].state for task in tasks} == {"succeeded"}


def _kept(facts: Facts, tasks: list[UUID]) -> None:
    assert {(facts.tasks[task].epoch, facts.tasks[task].attempt) for task in tasks} <= {(1, 1)}
