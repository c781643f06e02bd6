"""What happens to accepted work when a process or a server dies under it."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
import uuid_utils.compat as uuid_utils

from milepost.client import Client, Run
from milepost.embedded import Stack
from milepost.store import NewTask
from milepost_schemas import Priority
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.faults.watching import Watch, owner
from tests.scene import audited as running
from tests.system import System, opened_store

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]


async def test_a_killed_workers_task_is_finished_by_another_and_its_watcher_sees_it_all(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with running(await fresh(), workers=2) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate), "steps": 3})
        watch = Watch(run)
        await watch.started()
        victim = await owner(system, run)
        system.workers[victim].kill()
        await watch.sees(
            "a second start",
            lambda events: any(e.at.epoch >= 2 and e.task.state is TaskState.RUNNING for e in events),
            within_s=20,
        )
        gate.touch()
        events = await watch.end()
    assert events[-1].kind == "succeeded"
    assert events[-1].task.attempt == 2
    assert events[-1].task.result == {"attempt": 2}
    kinds = [event.kind for event in events if event.kind != "snapshot"]
    assert kinds.index("progress") < kinds.index("lease_lost") < kinds.index("succeeded")
    positions = [event.at for event in events]
    assert positions == sorted(positions)
    for before, after in pairwise(events):
        if after.kind != "snapshot" and before.at.epoch == after.at.epoch:
            assert after.at.seq - before.at.seq == 1 + after.merged, "a gap"


@pytest.mark.long
async def test_a_drained_workers_task_goes_on_elsewhere_and_burns_no_attempt(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    settings = await fresh()
    async with running(settings, workers=2, env={"MILEPOST_DRAIN": "0.2"}) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        watch = Watch(run)
        await watch.started()
        first = await owner(system, run)
        await system.workers[first].stop()
        assert system.workers[first].returncode == 0
        await watch.sees("the next owner", lambda events: any(e.kind == "started" and e.at.epoch == 2 for e in events))
        gate.touch()
        events = await watch.end()
    assert events[-1].kind == "succeeded"
    assert events[-1].task.attempt == 1


async def test_tasks_are_accepted_and_done_while_kafka_is_down_and_told_when_it_is_back(
    fresh: MakeSettings, stack: Stack
) -> None:
    async with running(await fresh()) as system, system.client() as client:
        await (await client.submit("demo.echo", {"warm": 1})).result()
        await stack.kafka[0].stop()
        try:
            runs = [await client.submit("demo.count", {"to": 2, "delay": 0.05}) for _ in range(10)]
            watches = [Watch(run) for run in runs]

            async def done() -> bool:
                return all([(await run.refresh()).state is TaskState.SUCCEEDED for run in runs])

            await eventually(done, "tasks to end without Kafka", 40)
        finally:
            await stack.kafka[0].start()
        for watch in watches:
            assert (await watch.end(90))[-1].kind == "succeeded"
        async with opened_store(system.settings) as store:

            async def published() -> bool:
                return await store.take_outbox(0, 100, hold_s=0) == []

            await eventually(published, "all completions to be published", 60)


async def test_a_watcher_gets_the_end_after_redis_lost_everything(
    fresh: MakeSettings, stack: Stack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with running(await fresh()) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        watch = Watch(run)
        await watch.started()
        await _flush(system)
        gate.touch()
        events = await watch.end()
    assert events[-1].kind == "succeeded"
    assert events[-1].task.type == "test.gate"
    assert events[-1].task.created_at == events[0].task.created_at
    await stack.redis.ready()


async def _flush(system: System) -> None:
    from milepost.live import connect

    redis = connect(system.settings)
    await redis.flushall()
    await redis.aclose()


@pytest.mark.long
async def test_a_watcher_gets_the_end_after_redis_was_restarted_empty(
    fresh: MakeSettings, stack: Stack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with running(await fresh()) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate)})
        watch = Watch(run)
        await watch.started()
        stack.redis.kill()
        gate.touch()
        await stack.redis.start()
        events = await watch.end(60)
    assert events[-1].kind == "succeeded"


async def test_a_watcher_resumes_on_the_next_notifier_after_its_own_was_killed(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with running(await fresh()) as system, system.client() as client:
        run = await client.submit("test.gate", {"path": str(gate), "steps": 4})
        watch = Watch(run)
        await watch.started()
        system.notifiers[0].kill()
        gate.touch()
        await system.notifiers[0].start()
        events = await watch.end(60)
    assert events[-1].kind == "succeeded"
    positions = [event.at for event in events]
    assert positions == sorted(positions)


async def test_short_tasks_do_not_wait_behind_a_worker_full_of_long_ones(fresh: MakeSettings, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    settings = await fresh(kafka_partitions=8)
    async with running(settings, workers=2, env={"MILEPOST_CONCURRENCY": "4"}) as system, system.client() as client:
        # As many long tasks as one worker has slots, and a few more for some slots of the other.
        long = [await client.submit("test.gate", {"path": str(gate)}) for _ in range(5)]
        for run in long:
            await _runs(client, run)
        short = await client.submit_batch([{"type": "demo.echo", "payload": {"n": n}} for n in range(200)])
        results = await asyncio.gather(*(run.result(timeout=60) for run in short if isinstance(run, Run)))
        assert results == [{"n": n} for n in range(200)]
        for run in long:
            assert (await run.refresh()).state is TaskState.RUNNING
        gate.touch()
        for run in long:
            assert await run.result(timeout=30) == {"attempt": 1}


async def _runs(client: Client, run: Run) -> None:
    async def check() -> bool:
        return (await client.get(run.id)).state is TaskState.RUNNING

    await eventually(check, "a long task to run")


@pytest.mark.long
async def test_postgres_restarted_under_load_loses_nothing(fresh: MakeSettings, stack: Stack) -> None:
    # Longer than a busy machine takes to recover a database: whose lease is over loses the attempt, and rightly so.
    env = {"MILEPOST_LEASE": "90"}
    async with running(await fresh(), workers=2, env=env) as system, system.client() as client:
        runs = [await client.submit("demo.count", {"to": 5, "delay": 0.1}) for _ in range(20)]
        stack.postgres.kill()
        await stack.postgres.start()
        runs += [await client.submit("demo.count", {"to": 1, "delay": 0}) for _ in range(20)]
        results = await asyncio.gather(*(run.result(timeout=90) for run in runs))
        assert results == [{"count": 5}] * 20 + [{"count": 1}] * 20
        for run in runs:
            assert (await run.refresh()).attempt == 1


@pytest.mark.long
async def test_a_worker_paused_past_its_lease_writes_nothing(fresh: MakeSettings, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    settings = await fresh()
    async with (
        running(settings, workers=2, env={"MILEPOST_LEASE": "3", "MILEPOST_RENEW": "1"}) as system,
        system.client() as client,
    ):
        run = await client.submit("test.gate", {"path": str(gate)})
        watch = Watch(run)
        await watch.started()
        zombie = system.workers[await owner(system, run)]
        zombie.pause()
        await watch.sees("the next owner", lambda events: any(e.kind == "started" and e.at.epoch >= 3 for e in events))
        gate.touch()
        events = await watch.end()
        zombie.resume()
        assert events[-1].task.result == {"attempt": 2}

        words = ("not ours any more", "stopping its handler", "stopping the handler")

        async def noticed() -> bool:
            return any(word in line for word in words for line in zombie.log_tail())

        await eventually(noticed, "the zombie to notice")
        task = await run.refresh()
    assert task.result == {"attempt": 2}
    assert task.epoch == events[-1].at.epoch


async def test_tasks_whose_hints_were_lost_are_found_also_by_a_worker_that_is_always_busy(fresh: MakeSettings) -> None:
    """Stealing and pushing compete for the last slot; neither may starve the other, and none may stand still."""
    settings = await fresh()
    async with (
        running(settings, env={"MILEPOST_CONCURRENCY": "1", "MILEPOST_STEAL_AFTER": "0.2"}) as system,
        system.client() as client,
        opened_store(settings) as store,
    ):
        runs: list[Run] = []
        for number in range(60):
            runs.append(await client.submit("demo.echo", {"n": number}))
            # As after a crash between commit and send: stored, and nobody was told.
            unheard = NewTask(
                id=uuid_utils.uuid7(),
                tenant="default",
                type="demo.echo",
                queue="default",
                priority=Priority.NORMAL,
                max_attempts=1,
                payload='{"unheard": true}',
            )
            await store.submit([unheard])
            runs.append(client.run(unheard.id))
        results = await asyncio.gather(*(run.result(timeout=60) for run in runs))
    assert results == [result for n in range(60) for result in ({"n": n}, {"unheard": True})]
