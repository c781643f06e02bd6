"""Deploys: SIGTERM under load, one worker or all of them, burns no attempt."""

import asyncio
import os
import signal
from collections import Counter

import pytest

from milepost.audit import Facts
from tests.faults.conftest import Stage
from tests.faults.loads import short
from tests.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


async def test_a_rolling_restart_of_all_workers_under_load_burns_no_attempt(stage: Stage) -> None:
    async with stage(env={"MILEPOST_DRAIN": "0.5"}) as scene:
        scene.load(30, short)
        await _busy(scene)
        for worker in scene.system.workers:
            await worker.stop()
            assert worker.returncode == 0
            await worker.start()
            await scene.system.has_workers(len(scene.system.workers))
        facts = await scene.passes()
    assert _burnt(facts) == 0


@pytest.mark.long
async def test_a_second_sigterm_hurries_and_burns_no_attempt_either(stage: Stage) -> None:
    async with stage(env={"MILEPOST_DRAIN": "60"}) as scene:
        scene.load(20, short)
        task = await scene.submit({"type": "demo.count", "payload": {"to": 200, "delay": 0.1}})
        # One that runs for long: a worker with short tasks alone has drained before anybody sees it do so.
        await scene.reaches(task, "running")
        worker = scene.system.workers[await scene.owner(task)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        os.kill(worker.pid, signal.SIGTERM)
        await _draining(scene)
        os.kill(worker.pid, signal.SIGTERM)
        assert await worker.wait() == 0
        assert loop.time() - began < 20, "it waited for its drain"
        await worker.start()
        facts = await scene.passes()
    assert _burnt(facts) == 0


def _burnt(facts: Facts) -> int:
    outcomes = Counter(past.outcome for history in facts.history.values() for past in history)
    return outcomes["lease_lost"] + outcomes["failed"]


async def _busy(scene: Scene) -> None:
    while not all([await scene.held_by(worker) for worker in scene.system.workers]):
        await asyncio.sleep(0.02)


async def _draining(scene: Scene) -> None:
    while not await scene.rows("select 1 from milepost.workers where draining"):
        await asyncio.sleep(0.05)
