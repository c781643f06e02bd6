"""Workers that are alive and have lost their tasks: what they still do must count for nothing."""

from pathlib import Path

import pytest

from tests.faults.conftest import Stage
from tests.faults.loads import varied
from tests.faults.slowness import Slowness
from tests.faults.watching import told
from tests.scene import Held, Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

HURRIED = {"MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1"}


async def test_a_worker_stopped_past_its_lease_and_continued_writes_nothing(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with stage(env=HURRIED) as scene:
        scene.load(10, varied)
        tasks = [await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}}) for _ in range(6)]
        for task in tasks:
            await scene.reaches(task, "running")
        zombie = scene.system.workers[await scene.owner(tasks[0])]
        held = await scene.held_by(zombie)
        zombie.pause()
        try:
            await scene.taken_back(held)
            await _run_again(scene, held)
        finally:
            zombie.resume()
        # Its handlers find the gate closed still: what ends them is that their worker tells them.
        await told(zombie, "stopping")
        gate.touch()
        facts = await scene.passes()
        for task, epoch in held:
            if task in tasks:
                assert facts.tasks[task].epoch > epoch


async def _run_again(scene: Scene, held: list[Held]) -> None:
    """Wait until somebody else has begun these tasks, so that the diary shows who of the two goes on."""
    for each in held:
        await scene.reaches(each.task, "running", "succeeded", "cancelled")


@pytest.mark.long
async def test_a_worker_whose_machine_vanishes_and_comes_back_loses_and_doubles_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    """No FIN and no answer, for longer than the lease."""
    gate = tmp_path / "gate"
    async with stage(env=HURRIED) as scene:
        scene.load(10, varied)
        tasks = [await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}}) for _ in range(6)]
        for task in tasks:
            await scene.reaches(task, "running")
        number = await scene.owner(tasks[0])
        held = await scene.held_by(scene.system.workers[number])
        scene.lines[number].stall()
        await scene.taken_back(held)
        await _run_again(scene, held)
        gate.touch()
        scene.lines[number].flow()
        await scene.passes()


async def test_a_result_whose_commit_was_cut_in_the_middle_is_committed_once(stage: Stage, tmp_path: Path) -> None:
    """Postgres did it and the worker cannot know: it asks again, finds nothing to do, and the outbox tells."""
    async with stage() as scene:
        gate = tmp_path / "gate"
        task = await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}})
        await scene.reaches(task, "running")
        line = scene.lines[await scene.owner(task)]
        result = Slowness(scene.direct, "new.state = 'succeeded'")
        await result.begin()
        gate.touch()
        await result.met()
        line.hold_replies()
        await scene.reaches(task, "succeeded")
        line.cut()
        line.flow()
        facts = await scene.passes()
        assert facts.tasks[task].epoch == facts.tasks[task].attempt == 1


@pytest.mark.long
async def test_submissions_whose_commit_was_cut_in_the_middle_make_one_task_each(stage: Stage) -> None:
    async with stage() as scene:
        scene.load(20, varied)
        for _ in range(5):
            scene.wires.postgres.hold_replies()
            await scene.wires.postgres.request_passed()
            scene.wires.postgres.cut()
            scene.wires.postgres.flow()
        facts = await scene.passes()
        assert len(facts.tasks) == len(scene.record.accepted)
