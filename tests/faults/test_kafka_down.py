"""Kafka away: tasks are accepted and done all the same, and told of when it is back."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from milepost.embedded import Stack
from milepost.runtime.settings import Settings
from tests.conftest import API_KEY, eventually, started_stack
from tests.faults.conftest import Stage
from tests.faults.fault import Fault, by_fault, killed
from tests.faults.loads import short, varied
from tests.scene import Scene, Wires, staged, wired

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


ROOMY = {
    "MILEPOST_CONCURRENCY": "100",
    # What is watched while Kafka is away stays open until it is back.
    "MILEPOST_MAX_SUBSCRIPTIONS": "20000",
}


async def _succeeded(scene: Scene) -> int:
    return int((await scene.rows("select count(*) from milepost.tasks where state = 'succeeded'"))[0][0])


@pytest.mark.long
async def test_stopped_under_load_every_submission_is_answered_and_the_backlog_is_gone_in_half_a_minute(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stage(watchers=2, env=ROOMY) as scene:
        scene.load(200, short, batch=20)
        await _grows(scene)
        await scene.stack.kafka[0].stop()
        try:
            before = await _succeeded(scene)
            await asyncio.sleep(60)
            meanwhile = await _succeeded(scene) - before
        finally:
            await scene.stack.kafka[0].start()
        assert meanwhile > 0, "tasks go on by stealing"
        assert not scene.submitter.tally.unavailable, "a submission was refused"
        facts = await scene.passes(30)
        with capsys.disabled():
            print(f"\n{len(facts.tasks)} tasks, {meanwhile} done meanwhile; backlog gone after {facts.drained_s:.1f} s")  # noqa: T201


async def _grows(scene: Scene, by: int = 20) -> None:
    before = await _succeeded(scene)

    async def grown() -> bool:
        return await _succeeded(scene) >= before + by

    await eventually(grown, "tasks to succeed", 60)


async def _cut(scene: Scene) -> None:
    for _ in range(5):
        scene.wires.kafka.cut()
        await _grows(scene, 5)


async def _stalled(scene: Scene) -> None:
    """No answer and no end: only bounded waits notice."""
    scene.wires.kafka.stall()
    await _grows(scene)
    scene.wires.kafka.flow()


async def _frozen(scene: Scene) -> None:
    scene.stack.kafka[0].pause()
    try:
        await _grows(scene)
    finally:
        scene.stack.kafka[0].resume()


@by_fault(
    long=[
        ("stalled", _stalled),
        ("restarted", killed(lambda stack: stack.kafka[0])),
        ("cut", _cut),
        ("frozen", _frozen),
    ]
)
async def test_nothing_is_lost_when_it_is(stage: Stage, fault: Fault) -> None:
    async with stage() as scene:
        scene.load(20, varied)
        await _grows(scene)
        await fault(scene)
        await _grows(scene)
        await scene.passes()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_one_of_three_brokers_is_lost_under_load() -> None:
    """Each in turn: who leads a partition then is another, and acknowledged records are on it."""
    async with AsyncExitStack() as held:
        wires: Wires = await held.enter_async_context(wired())
        stack: Stack = await held.enter_async_context(started_stack(brokers=3))
        wires.connect(stack)
        settings = Settings.load(
            database_url=stack.database_url,
            kafka_bootstrap=stack.kafka_bootstrap,
            redis_url=stack.redis_url,
            kafka_replication=3,
            api_key=API_KEY,
            home=stack.home / "services",
        )
        scene = await held.enter_async_context(staged(settings, stack, wires))
        scene.load(30, varied)
        for broker in stack.kafka:
            await _grows(scene)
            broker.kill()
            await broker.process.wait()
            await _grows(scene, 50)
            await broker.start()
        await scene.passes(90)
