"""An older version beside this one, on the schema of this one: what an upgrade looks like from `migrate` to its end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from milepost.embedded import ManagedProcess
from tests.faults.conftest import Stage
from tests.faults.loads import varied
from tests.faults.watching import told
from tests.older import NoOlderVersionError, Older
from tests.scene import Scene
from tests.system import System

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(400)]

HURRIED = {"MILEPOST_LEASE": "4", "MILEPOST_RENEW": "1", "DIARY": ""}
"""An older worker may know of nothing but leases, and its handlers may have no epoch to keep a diary with."""
GATES = ["test.gate", "test.thread_gate", "test.process_gate"]
PARTS: dict[str, Callable[[System], list[ManagedProcess]]] = {
    "worker": lambda system: system.workers[:1],
    "notifier": lambda system: system.notifiers[:1],
    "api": lambda system: [system.api],
    "everything": lambda system: system.processes,
}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Older:
    """The last version before the newest migration."""
    try:
        return Older(tmp_path_factory.mktemp("older"))
    except NoOlderVersionError as error:
        pytest.skip(str(error))


async def test_version_before_last_migration_is_another_one(older: Older) -> None:
    """Or nothing here would be proved."""
    assert older.migrations


@pytest.mark.parametrize("part", PARTS)
async def test_an_older_version_of_a_service_works_beside_the_new_ones_on_the_new_schema(
    stage: Stage, older: Older, tmp_path: Path, part: str
) -> None:
    async with stage(workers=2, notifiers=2, watchers=4, env=HURRIED) as scene:
        old = PARTS[part](scene.system)
        scene.load(15, varied)
        await older.replace(old)
        await _serves(scene)
        await _turbulence(scene, tmp_path / "mixed-")
        # The upgrade goes on: what the older ones left behind is for the new ones, and the other way round before.
        await older.restore(old)
        await _serves(scene)
        await _turbulence(scene, tmp_path / "new-")
        await scene.passes()


async def _serves(scene: Scene) -> None:
    for url in (scene.system.url, *scene.system.notifier_urls):
        await scene.system.ready(url)
    for worker in scene.system.workers:
        await told(worker, "reading work topics", 60)


async def _turbulence(scene: Scene, prefix: Path) -> None:
    """Lose tasks of either worker to the other, cancel running and waiting ones, retry what failed for good."""
    await scene.warm()
    for number, worker in enumerate(scene.system.workers):
        gate = prefix.with_name(f"{prefix.name}gate-{number}")
        tasks = await _some_held_by(scene, worker, gate)
        held = [each for each in await scene.held_by(worker) if each.task in tasks]
        worker.kill()
        await scene.taken_back(held)
        gate.touch()
        for task in tasks:
            await scene.reaches(task, "succeeded", within_s=60)
        await worker.start()
        await _serves(scene)
    running = [await _gated(scene, kind, prefix.with_name(f"{prefix.name}never")) for kind in GATES * 2]
    waiting = await scene.submit({"type": "demo.echo", "payload": {}, "delay": 3600})
    for task in [*running, waiting]:
        assert await _post(scene, task, "cancel") == 202
    for task in running:
        await scene.reaches(task, "cancelled")
    assert await scene.state(waiting) == "cancelled"
    again = prefix.with_name(f"{prefix.name}again")
    failed = await scene.submit({"type": "test.fail_until", "payload": {"path": str(again)}})
    await scene.reaches(failed, "failed")
    again.touch()
    if await _post(scene, failed, "retry") == 202:  # an older api may not know how
        await scene.reaches(failed, "succeeded")


async def _some_held_by(scene: Scene, worker: ManagedProcess, gate: Path) -> list[UUID]:
    """Submit gated tasks until this worker runs some of them; return all.

    One that has just begun to read has no partitions before its group is whole again; until then the other runs all.
    """
    tasks: list[UUID] = []
    async with asyncio.timeout(60):
        while True:
            tasks += [await _gated(scene, kind, gate) for kind in GATES]
            held = {each.task for each in await scene.held_by(worker)}
            if len(tasks) >= 3 * len(GATES) and held.intersection(tasks):
                return tasks


async def _gated(scene: Scene, kind: str, gate: Path) -> UUID:
    task = await scene.submit({"type": kind, "payload": {"path": str(gate)}, "max_attempts": 20})
    await scene.reaches(task, "running")
    return task


async def _post(scene: Scene, task: UUID, what: str) -> int:
    headers = {"Authorization": f"Bearer {scene.system.key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{scene.system.url}/v1/tasks/{task}/{what}", headers=headers) as response,
    ):
        return response.status
