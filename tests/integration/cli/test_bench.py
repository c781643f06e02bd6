"""Scenarios of `milepost bench`, small, against the real services."""

from collections.abc import AsyncIterator

import pytest

from milepost.cli.bench.crowded import Crowd
from milepost.cli.bench.crowded import run as run_crowded
from milepost.cli.bench.reads import Reads
from milepost.cli.bench.reads import run as run_reads
from milepost.cli.bench.scenarios import Target
from milepost.client import Client
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings
from tests.system import System, running

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def system(fresh: MakeSettings) -> AsyncIterator[System]:
    async with running(await fresh(concurrency=32), notifiers=0, tasks="milepost.demo") as started:
        yield started


@pytest.fixture
def target(system: System) -> Target:
    settings = system.settings
    return Target(system.url, "", system.key, settings.database_url.get_secret_value(), settings.home / "run")


async def test_submissions_are_timed_alone_and_beside_tasks_that_spin_and_die(system: System, target: Target) -> None:
    crowd = Crowd(seconds=1.0, rounds=1, rate=20, spinning=2, dying_every=0.5)
    figures = await run_crowded(target, crowd)
    assert [(turn.crowded, turn.submitted) for turn in figures.turns] == [(False, 20), (True, 20)]
    assert figures.turns[0].died == 0
    assert figures.turns[1].died >= 2
    async with system.client() as client:
        assert await states(client, "demo.spin") == [TaskState.CANCELLED] * 2
        assert await states(client, "demo.allocate") == [TaskState.FAILED] * figures.turns[1].died
    assert "20 submissions/s for 1 s" in figures.text()


async def states(client: Client, type_: str) -> list[TaskState]:
    """Return those of all tasks of a type."""
    return [task.state async for task in client.list(type=type_)]


async def test_reads_count_only_answers_that_say_what_they_should(target: Target) -> None:
    figures = await run_reads(target, Reads(requests=100, rounds=1, tasks=5, connections=2))
    assert [(turn.etag, turn.requests) for turn in figures.turns] == [(False, 100), (True, 100)]
    assert {"api", "worker-0", "bench"} <= set(figures.turns[0].cpu_per_1000)
    assert "GET /v1/tasks/{id}" in figures.text()


def test_scenarios_can_be_scaled() -> None:
    assert Crowd().scaled(2).seconds == 40
    assert Crowd().scaled(0.01).seconds == 1
    assert Reads().scaled(2).requests == 30_000
    assert Reads().scaled(0.001).requests == 100
