"""Postgres away: nothing is accepted without it, and nothing that was accepted is lost."""

from collections.abc import Sequence

import pytest

from milepost.embedded import Stack
from milepost.embedded.server import Server
from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.fault import Fault, by_fault, cut, killed, stopped, survived
from tests.faults.loads import varied
from tests.proxy import Proxy
from tests.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


def _postgres(stack: Stack) -> Server:
    return stack.postgres


def _lines(scene: Scene) -> Sequence[Proxy]:
    return (scene.wires.postgres, *scene.lines)


async def _stalled(scene: Scene) -> None:
    """Connections stay and say nothing; the api has to answer all the same."""
    for line in _lines(scene):
        line.stall()
    try:

        async def refused() -> bool:
            return bool(scene.submitter.tally.unavailable)

        await eventually(refused, "the api to say that Postgres is away")
    finally:
        for line in _lines(scene):
            line.flow()


@by_fault(
    short=[("cut everywhere", cut(_lines))],
    long=[("killed", killed(_postgres)), ("restarted", stopped(_postgres)), ("stalled", _stalled)],
)
async def test_nothing_is_lost_when_it_is(stage: Stage, fault: Fault) -> None:
    async with stage() as scene:
        facts = await survived(scene, fault, 25, varied, accepted=50)
    assert len(facts.tasks) == len(scene.record.accepted)
