"""A request to stop reaches the handler at once, and within a renewal when Kafka is away."""

import statistics
import time
from pathlib import Path

import pytest

from milepost.client import Client, Run
from milepost.embedded import Stack
from milepost.errors import MilepostError
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.faults.watching import Watch, runs
from tests.system import running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

TASKS = "milepost.demo,tests.tasks,tests.stopping_tasks"
TIMES = 50
TOLD_S = 0.1
RENEWED_S = 5.0


async def _told_s(client: Client, run: Run, path: Path, within_s: float) -> float:
    """Cancel a task; return the seconds from the request to the handler."""
    asked = time.monotonic()
    await client.cancel(run.id)

    async def told() -> bool:
        return bool(_text(path))

    await eventually(told, "the handler to be told", within_s)
    return float(_text(path)) - asked


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_a_running_handler_is_told_within_a_tenth_of_a_second(fresh: MakeSettings, tmp_path: Path) -> None:
    env = {"MILEPOST_CONCURRENCY": str(TIMES)}
    async with running(await fresh(), tasks=TASKS, env=env) as system, system.client() as client:
        paths = [tmp_path / str(n) for n in range(TIMES)]
        tasks = [await client.submit("stop.coroutine", {"path": str(path)}) for path in paths]
        await runs(client, *tasks)
        took = [await _told_s(client, run, path, 10) for run, path in zip(tasks, paths, strict=True)]
        for run in tasks:
            await _is_cancelled(run)
    print(f"told after: p50 {statistics.median(took) * 1000:.1f} ms, max {max(took) * 1000:.1f} ms")  # noqa: T201
    assert statistics.median(took) <= TOLD_S


@pytest.mark.long
async def test_without_kafka_the_next_renewal_tells_it(fresh: MakeSettings, stack: Stack, tmp_path: Path) -> None:
    async with running(await fresh(), tasks=TASKS) as system, system.client() as client:
        paths = [tmp_path / str(n) for n in range(3)]
        tasks = [await client.submit("stop.coroutine", {"path": str(path)}) for path in paths]
        await runs(client, *tasks)
        await stack.kafka[0].stop()
        try:
            took = [await _told_s(client, run, path, 15) for run, path in zip(tasks, paths, strict=True)]
            for run in tasks:
                await _is_cancelled(run)
        finally:
            await stack.kafka[0].start()
    print(f"without Kafka told after: {', '.join(f'{each:.2f}' for each in took)} s")  # noqa: T201 - the figure
    assert max(took) <= RENEWED_S + 0.5


async def test_cancelling_again_changes_nothing_and_watchers_see_one_end(fresh: MakeSettings, tmp_path: Path) -> None:
    async with running(await fresh(), tasks=TASKS) as system, system.client() as client:
        run = await client.submit("stop.coroutine", {"path": str(tmp_path / "told")})
        watch = Watch(run)
        await watch.started()
        await client.cancel(run.id)
        await client.cancel(run.id)
        events = await watch.end()
        assert [e.kind for e in events if e.task.state.terminal] == ["cancelled"]
        assert (await client.cancel(run.id)).state is TaskState.CANCELLED
        assert (await run.refresh()).epoch == 1, "the worker itself ended it, under its own epoch"

        done = await client.submit("demo.echo", {})
        await done.result(timeout=20)
        with pytest.raises(MilepostError, match="nothing left to cancel"):
            await client.cancel(done.id)
        assert (await done.refresh()).state is TaskState.SUCCEEDED


async def _is_cancelled(run: Run) -> None:
    async def check() -> bool:
        return (await run.refresh()).state is TaskState.CANCELLED

    await eventually(check, "the task to be cancelled", 20)
