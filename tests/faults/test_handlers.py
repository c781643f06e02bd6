"""Handlers that misbehave harm themselves only."""

import pytest

from tests.faults.conftest import Stage
from tests.faults.loads import short

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


async def test_handlers_that_block_ignore_or_never_end_leave_their_neighbours_alone(
    stage: Stage,
) -> None:
    async with stage() as scene:
        scene.load(15, short)
        stubborn = await scene.submit({"type": "test.stubborn", "timeout": 0.5, "max_attempts": 1})
        endless = await scene.submit({"type": "test.timeout"})
        blocking = await scene.submit({"type": "test.blocking", "payload": {"seconds": 1.5}, "max_attempts": 5})
        leaving = await scene.submit({"type": "test.sys_exit"})
        dying = await scene.submit({"type": "test.exit"})
        greedy = await scene.submit({"type": "demo.allocate", "payload": {"mib": 2048}})
        facts = await scene.passes()
        for task in (stubborn, endless, leaving, dying, greedy):
            assert facts.tasks[task].state == "failed"
        assert facts.tasks[blocking].state == "succeeded"
        others = [row for row in facts.tasks.values() if row.id not in {stubborn, endless, leaving, dying, greedy}]
        assert {row.state for row in others} == {"succeeded"}
