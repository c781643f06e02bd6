"""Postgres away: nothing is accepted without it, and nothing that was accepted is lost."""

from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.loads import varied
from tests.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


async def _killed(scene: Scene) -> None:
    scene.stack.postgres.kill()
    await scene.stack.postgres.start()


async def _restarted(scene: Scene) -> None:
    await scene.stack.postgres.stop()
    await scene.stack.postgres.start()


async def _cut_everywhere(scene: Scene) -> None:
    """Every connection reset, whatever statement was in the middle of it."""
    for _ in range(5):
        for proxy in (scene.wires.postgres, *scene.lines):
            proxy.cut()
        await scene.accepts(10)


async def _stalled(scene: Scene) -> None:
    """Connections stay and say nothing; the api has to answer all the same."""
    proxies = (scene.wires.postgres, *scene.lines)
    for proxy in proxies:
        proxy.stall()
    try:

        async def refused() -> bool:
            return bool(scene.submitter.tally.unavailable)

        await eventually(refused, "the api to say that Postgres is away")
    finally:
        for proxy in proxies:
            proxy.flow()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_cut_everywhere, id="cut everywhere"),
        pytest.param(_killed, id="killed", marks=pytest.mark.long),
        pytest.param(_restarted, id="restarted", marks=pytest.mark.long),
        pytest.param(_stalled, id="stalled", marks=pytest.mark.long),
    ],
)
async def test_nothing_is_lost_when_it_is(stage: Stage, fault: Callable[[Scene], Awaitable[None]]) -> None:
    async with stage() as scene:
        scene.load(25, varied)
        await scene.accepts(50)
        await fault(scene)
        await scene.accepts(50)
        facts = await scene.passes()
    assert len(facts.tasks) == len(scene.record.accepted)
