"""SIGKILL at each point of a task's life. Lost, doubled or told wrong: the audit would find it."""

import time
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from milepost.audit import Facts
from milepost.embedded import ManagedProcess
from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.loads import varied
from tests.faults.slowness import Slowness
from tests.scene import Held, Scene
from tests.traffic import Job

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

HURRIED = {"MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1"}


async def test_before_its_claim_has_reached_postgres(stage: Stage) -> None:
    async with stage(env=HURRIED) as scene:
        line = scene.lines[0]
        line.stall()
        for n in range(20):
            await scene.submit({"type": "demo.echo", "payload": {"n": n}})
        await line.held_back()
        scene.system.workers[0].kill()
        # What was on its way may still arrive, from a worker that is dead.
        line.flow()
        await scene.passes()


@pytest.mark.long
async def test_after_its_claim_of_which_it_never_learned(stage: Stage) -> None:
    async with stage(env=HURRIED) as scene:
        line, worker = scene.lines[0], scene.system.workers[0]
        await scene.warm()
        (me,) = await scene.rows("select id from milepost.workers where pid = $1", worker.pid)
        claim = Slowness(scene.direct, f"new.state = 'running' and new.epoch = 1 and new.worker = '{me[0]}'", 2.0)
        await claim.begin()
        # For as long as it takes: this worker may have no partitions yet.
        scene.load(30, lambda _chance, _number: Job({"type": "demo.echo", "max_attempts": 5}))
        await claim.met()
        line.hold_replies()
        held: list[Held] = []

        async def claimed() -> bool:
            held[:] = await scene.held_by(worker)
            return bool(held)

        await eventually(claimed, "the claim to be committed")
        worker.kill()
        line.cut()
        line.flow()
        facts = await scene.passes()
        assert facts.moves is not None
        for task, epoch in held:
            assert facts.tasks[task].epoch > epoch, "nobody could know of this claim"
            assert facts.tasks[task].state == "succeeded"


@pytest.mark.long
async def test_in_the_middle_of_a_run(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with stage(env=HURRIED) as scene:
        tasks = [await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}}) for _ in range(6)]
        tasks += [await scene.submit({"type": "test.process_gate", "payload": {"path": str(gate)}}) for _ in range(2)]
        for task in tasks:
            await scene.reaches(task, "running")
        victim = await scene.owner(tasks[0])
        held = await scene.held_by(scene.system.workers[victim])
        scene.system.workers[victim].kill()
        gate.touch()
        facts = await scene.passes()
        for task, _ in held:
            assert facts.tasks[task].attempt == 2
        assert {facts.tasks[task].state for task in tasks} == {"succeeded"}


async def test_after_its_result_was_committed_and_before_anybody_was_told(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with stage() as scene:
        task = await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}})
        await scene.reaches(task, "running")
        worker = scene.system.workers[await scene.owner(task)]
        kafka = scene.stack.kafka[0]
        kafka.pause()
        try:
            gate.touch()
            await scene.reaches(task, "succeeded")
            assert await scene.rows("select 1 from milepost.outbox where task_id = $1", task)
            worker.kill()
        finally:
            kafka.resume()
        facts = await scene.passes()
        assert {completion.id for completion in facts.completions[task]} == {f"{task}:1"}
        # What it had sent may have waited in the broker's socket; but somebody else told of it as well.
        tellers = {event.source for event in facts.events[task] if event.kind == "succeeded"}
        assert tellers - {event.source for event in facts.events[task] if event.kind == "started"}


@pytest.mark.long
async def test_between_results_and_the_commit_of_their_offsets(stage: Stage) -> None:
    """Offsets are committed half a second late, so whenever it happens there are results without theirs."""
    async with stage(env=HURRIED) as scene:
        scene.load(40, varied)
        worker = scene.system.workers[0]

        async def busy() -> bool:
            rows = await scene.rows(
                "select 1 from milepost.tasks t join milepost.workers w on w.id = t.worker"
                " where w.pid = $1 and t.finished_at > now() - interval '0.2 s' limit 1",
                worker.pid,
            )
            return bool(rows)

        await eventually(busy, "results of this worker")
        worker.kill()
        await worker.start()
        await eventually(busy, "results of its successor")
        await scene.passes()


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_twenty_times_under_load_at_default_settings(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole process tree each time; says how long it took until somebody else ran what it had held."""
    async with stage(workers=3, watchers=2) as scene:
        scene.load(30, varied)
        seconds: list[float] = []
        for turn in range(20):
            worker = scene.system.workers[turn % 3]

            held = await _holding(scene, worker)
            at = time.time()
            worker.kill()
            seconds += [taken - at for taken in await scene.taken_back(held)]
            await worker.start()
        facts = await scene.passes(120)
        with capsys.disabled():
            print(f"\n{len(seconds)} tasks of 20 killed workers: p50 {median(seconds):.2f} s, max {max(seconds):.2f} s")  # noqa: T201
            print(f"attempts: {_outcomes(facts)}")  # noqa: T201


async def _holding(scene: Scene, worker: ManagedProcess) -> list[Held]:
    """Wait until a worker runs something, and return what."""

    async def holds() -> bool:
        return bool(await scene.held_by(worker))

    await eventually(holds, "the worker to run something")
    return await scene.held_by(worker)


def _outcomes(facts: Facts) -> dict[str, int]:
    return dict(Counter(past.outcome for history in facts.history.values() for past in history))
