"""A handler that blocks its worker's loop is named, harms no neighbour's lease, and does not keep its task."""

from pathlib import Path

import orjson
import pytest

from milepost.client import Run
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.faults.watching import family, owner, present, runs, told
from tests.scene import audited as running
from tests.system import System, opened_store

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

TASKS = "milepost.demo,tests.tasks,tests.blocking_tasks"
LEASE = {"MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1"}
"""Blocks that outlive it show who renews; short enough to wait for."""


async def _attempts(system: System, run: Run) -> list[tuple[str, int, str | None]]:
    """Return (outcome, attempt, type of the error) of the attempts before the last."""
    async with opened_store(system.settings) as store:
        rows = await store._pool.fetch("select * from milepost.attempts where task_id = $1 order by epoch", run.id)
    return [(r["outcome"], r["attempt"], r["error"] and orjson.loads(r["error"])["type"]) for r in rows]


async def test_a_blocked_loop_costs_no_neighbour_its_lease_and_is_named_in_the_log(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate, block = tmp_path / "gate", tmp_path / "block"
    async with running(await fresh(), workers=1, tasks=TASKS, env=LEASE) as system, system.client() as client:
        types = ["test.gate", "test.thread_gate", "test.process_gate"]
        neighbours = [await client.submit(type_, {"path": str(gate)}) for type_ in types]
        await runs(client, *neighbours)
        blocking = await client.submit("block.loop", {"path": str(block)})
        line = orjson.loads(await told(system.workers[0], "a handler blocks the loop"))
        assert (line["task"], line["type"]) == (str(blocking.id), "block.loop")
        assert "blocking_tasks.py:" in line["at"]
        assert any("in _wait" in frame for frame in line["stack"])
        async with opened_store(system.settings) as store:

            async def renewed() -> bool:
                """Renewals go on for longer than a lease after the last sign of the loop."""
                rows = await store._pool.fetch(
                    "select lease_until - started_at > interval '9 seconds' as late from milepost.tasks"
                    " where state = 'running'"
                )
                return len(rows) == 4 and all(row["late"] for row in rows)

            await eventually(renewed, "the keeper to renew all four leases", 20)
        block.touch()
        gate.touch()
        assert await blocking.result(timeout=20) == 1
        for run in neighbours:
            await run.result(timeout=20)
            assert (await run.refresh()).epoch == 1


async def test_a_handler_that_blocks_for_too_long_loses_its_task_and_in_the_end_its_worker(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    env = {"MILEPOST_BLOCK_LIMIT": "4"}
    async with running(await fresh(), workers=2, tasks=TASKS, env=env) as system, system.client() as client:
        await present(system, 2)
        blocking = await client.submit("block.loop", {"path": str(gate)})
        await runs(client, blocking)
        victim = system.workers[await owner(system, blocking)]
        assert await blocking.result(timeout=20) == 2, "another worker runs it while this one is still blocked"
        (attempt,) = await _attempts(system, blocking)
        assert attempt == ("lease_lost", 1, "LoopBlocked")
        assert await victim.wait() == 70
        assert any("ends itself" in line for line in victim.log_tail())


@pytest.mark.long
async def test_neighbours_of_a_handler_that_ended_its_worker_run_elsewhere_with_all_their_attempts(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate, block = tmp_path / "gate", tmp_path / "block"
    settings = await fresh()
    env = {"MILEPOST_BLOCK_LIMIT": "3"}
    async with running(settings, workers=1, tasks=TASKS, env=env) as system, system.client() as client:
        types = ["test.gate", "test.thread_gate", "test.process_gate"]
        neighbours = [await client.submit(type_, {"path": str(gate)}) for type_ in types]
        await runs(client, *neighbours)
        children = family(system.workers[0])
        assert children
        blocking = await client.submit("block.loop", {"path": str(block)})
        assert await system.workers[0].wait() == 70

        async def gone() -> bool:
            return not any(child.is_running() for child in children)

        await eventually(gone, "the worker's children to end with it", 10)
        gate.touch()
        await system.workers[0].start()
        for run in neighbours:
            await run.result(timeout=20)
            assert (await run.refresh()).attempt == 1
            assert [outcome for outcome, *_ in await _attempts(system, run)] == ["released"]
        assert await blocking.result(timeout=20) == 2


@pytest.mark.long
async def test_the_error_of_a_task_that_ran_out_of_attempts_names_the_blocked_loop(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    """Its own timeout decides when that is earlier than the limit; the worker lives on if the block ends in time."""
    block = tmp_path / "block"
    async with running(await fresh(), workers=2, tasks=TASKS) as system, system.client() as client:
        await present(system, 2)
        run = await client.submit("block.timeout", {"path": str(block)})
        await runs(client, run)
        victim = system.workers[await owner(system, run)]

        async def failed() -> bool:
            return (await run.refresh()).state is TaskState.FAILED

        await eventually(failed, "the task to fail", 20)
        error = (await run.refresh()).error
        assert error is not None
        assert error.type == "LoopBlocked"
        assert "blocking_tasks.py:" in error.message
        assert "isolation='process'" in error.message
        block.touch()
        assert victim.running
        assert await (await client.submit("demo.echo", {"still": "there"})).result(timeout=20) == {"still": "there"}


@pytest.mark.long
async def test_a_block_that_nobody_can_be_blamed_for_counts_for_what_ran_on_the_loop(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    env = {"MILEPOST_BLOCK_LIMIT": "3"}
    async with running(await fresh(), workers=1, tasks=TASKS, env=env) as system, system.client() as client:
        beside = await client.submit("test.thread_gate", {"path": str(gate)})
        await runs(client, beside)
        run = await client.submit("block.unknown", {"path": str(tmp_path / "block")})
        assert await system.workers[0].wait() == 70
        gate.touch()
        await system.workers[0].start()
        await beside.result(timeout=20)
        assert (await beside.refresh()).attempt == 1

        async def failed() -> bool:
            return (await run.refresh()).state is TaskState.FAILED

        await eventually(failed, "the task to fail", 20)
        assert (await run.refresh()).attempt == 1


@pytest.mark.long
async def test_native_code_that_keeps_the_interpreter_loses_its_worker_and_the_task(fresh: MakeSettings) -> None:
    """Not even the keeper gets on then: the lease decides, and an alarm that needs no Python ends the process."""
    env = LEASE | {"MILEPOST_LEASE": "2"}
    async with running(await fresh(), workers=2, tasks=TASKS, env=env) as system, system.client() as client:
        run = await client.submit("block.interpreter", {})
        await runs(client, run)
        victim = system.workers[await owner(system, run)]

        async def failed() -> bool:
            return (await run.refresh()).state is TaskState.FAILED

        await eventually(failed, "the lease to end", 20)
        assert await victim.wait() == 1
        assert any("blocking_tasks.py" in line and "in interpreter" in line for line in victim.log_tail(200))
