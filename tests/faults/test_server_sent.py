"""Server-sent events while notifiers die: clients come back with the last id, and see each end."""

from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.loads import short
from tests.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

READERS = 40


async def _all_told(scene: Scene) -> bool:
    return all(any(frame.state == "running" for frame in watch.frames) for watch in scene.record.watches)


async def test_readers_of_a_killed_notifier_resume_on_another_and_see_each_end(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with stage(watchers=0, readers=READERS, notifiers=2, env={"MILEPOST_CONCURRENCY": "50"}) as scene:
        task = {"type": "test.gate", "payload": {"path": str(gate), "steps": 4}}
        tasks = [await scene.submit(task, watched=False) for _ in range(10)]
        for number, reader in enumerate(scene.watchers):
            reader.watch(tasks[number % len(tasks)])
        await eventually(lambda: _all_told(scene), "every client to be told of a start", 90)
        first = scene.system.notifiers[0]
        first.kill()
        gate.touch()
        await first.wait()
        await first.start()
        await scene.passes(90)
        assert sum(reader.connects for reader in scene.watchers) >= READERS * 1.4, "half of them had to come back"


@pytest.mark.long
@pytest.mark.parametrize("end", ["killed", "drained"])
async def test_readers_see_each_end_while_notifiers_come_and_go(stage: Stage, end: str) -> None:
    async with stage(watchers=0, readers=4, notifiers=2) as scene:
        scene.load(20, short)
        await scene.accepts(40)
        for notifier in scene.system.notifiers:
            if end == "killed":
                notifier.kill()
                await notifier.wait()
            else:
                await notifier.stop()
            await scene.accepts(20)
            await notifier.start()
        await scene.accepts(40)
        await scene.passes()
