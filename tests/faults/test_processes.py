"""Processes of handlers while those that watch over them are killed or stopped."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from milepost.client import Client, Run
from milepost.embedded.processes import ManagedProcess
from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.processes import alive, fork_server_of, gone, noted, parent_of, signal_all
from tests.scene import audited as running
from tests.system import System

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

TASKS = "milepost.demo,tests.tasks,tests.execution_tasks"


@asynccontextmanager
async def family(
    fresh: MakeSettings, note: Path, *, workers: int = 1, env: dict[str, str] | None = None
) -> AsyncIterator[tuple[System, Client, Run, list[int]]]:
    """Run a handler with a child and a daemon; the pids are its own, the child's and the daemon's."""
    settings = await fresh(kafka_partitions=1)
    async with (
        running(settings, workers=workers, notifiers=0, tasks=TASKS, env=env) as system,
        system.client() as client,
    ):
        run = await client.submit("run.family", {"path": str(note)})
        pids = await noted(note)
        assert all(map(alive, pids))
        yield system, client, run, pids


async def _gone(pids: list[int], within_s: float) -> None:
    async def check() -> bool:
        return gone(pids)

    await eventually(check, f"{pids} to be gone", within_s)


def _hang(pids: list[int]) -> None:
    """Keep the handler's process from seeing that its worker is gone, as native code does that never returns."""
    os.kill(pids[0], signal.SIGSTOP)


def _of(pids: list[int]) -> tuple[int, int, int]:
    """Return the warden, the fork server and the worker a handler's process has above it."""
    warden = parent_of(pids[0])
    fork_server = parent_of(warden)
    return warden, fork_server, parent_of(fork_server)


async def test_nothing_is_left_of_an_attempt_whose_worker_was_killed(fresh: MakeSettings, tmp_path: Path) -> None:
    async with family(fresh, tmp_path / "pids") as (system, _, _, pids):
        warden, fork_server, worker = _of(pids)
        assert worker == system.workers[0].pid
        _hang(pids)
        os.kill(worker, signal.SIGKILL)
        await _gone([*pids, warden, fork_server], 5)


async def test_nothing_is_left_of_an_attempt_whose_worker_and_fork_server_were_killed_at_once(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    async with family(fresh, tmp_path / "pids") as (_, _, _, pids):
        warden, fork_server, worker = _of(pids)
        _hang(pids)
        os.kill(fork_server, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        os.kill(fork_server, signal.SIGKILL)
        await _gone([*pids, warden], 5)


async def test_attempts_of_a_fork_server_that_was_killed_fail_and_run_again_in_its_replacement(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    async with family(fresh, tmp_path / "pids") as (system, client, run, pids):
        warden, fork_server, worker = _of(pids)
        _hang(pids)
        os.kill(fork_server, signal.SIGKILL)
        began = time.monotonic()
        await _gone([*pids, warden, fork_server], 5)
        assert await run.result(timeout=30) == "second"
        assert time.monotonic() - began < 15
        assert fork_server_of(worker) not in {None, fork_server}
        # Ready for whoever comes next, and the worker never noticed.
        assert await (await client.submit("run.when", {})).result(timeout=10)
        assert worker == system.workers[0].pid
        assert system.workers[0].running


@pytest.mark.long
async def test_an_attempt_whose_warden_was_killed_fails_alone_and_leaves_nothing(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    async with family(fresh, tmp_path / "pids") as (_, client, run, pids):
        neighbour = await client.submit("run.family", {"path": str(tmp_path / "others")})
        others = await noted(tmp_path / "others")
        warden, _, _ = _of(pids)
        os.kill(warden, signal.SIGKILL)
        await _gone([*pids, warden], 5)
        assert await run.result(timeout=30) == "second"
        assert all(map(alive, others))
        await neighbour.cancel()


@pytest.mark.long
async def test_a_worker_that_stands_still_past_its_lease_has_no_processes_left_when_another_takes_over(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    env = {"MILEPOST_LEASE": "3", "MILEPOST_RENEW": "1"}
    async with family(fresh, tmp_path / "pids", workers=2, env=env) as (system, client, run, pids):
        _, fork_server, worker = _of(pids)
        (zombie,) = [each for each in system.workers if each.pid == worker]
        signal_all([worker, fork_server], signal.SIGSTOP)
        left: list[int] = []

        async def taken_over() -> bool:
            task = await client.get(run.id)
            if task.epoch < 2:
                return False
            left.extend(pid for pid in pids if alive(pid))
            return True

        await eventually(taken_over, "another worker to take the task over", 30)
        assert left == []
        assert await run.result(timeout=30) == "second"
        signal_all([worker, fork_server], signal.SIGCONT)
        await _works_on_and_wrote_nothing(zombie, client, run)


@pytest.mark.long
async def test_of_a_worker_that_stood_still_with_all_its_processes_none_goes_on(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    """As when a container is frozen, or a machine sleeps: there is nobody left to end anything until it wakes."""
    env = {"MILEPOST_LEASE": "3", "MILEPOST_RENEW": "1"}
    async with family(fresh, tmp_path / "pids", workers=2, env=env) as (system, client, run, pids):
        (zombie,) = [each for each in system.workers if each.pid == _of(pids)[2]]
        frozen = [*pids, *_of(pids)]
        signal_all(frozen, signal.SIGSTOP)
        assert await run.result(timeout=30) == "second"
        signal_all(frozen, signal.SIGCONT)
        await _gone(pids, 5)
        await _works_on_and_wrote_nothing(zombie, client, run)


async def _works_on_and_wrote_nothing(zombie: ManagedProcess, client: Client, run: Run) -> None:
    async def noticed() -> bool:
        return any("not ours any more" in line or "stopping" in line for line in zombie.log_tail(50))

    await eventually(noticed, "the zombie to notice", 20)
    task = await run.refresh()
    assert (task.state, task.result, task.attempt) == (TaskState.SUCCEEDED, "second", 2)
    later = [await client.submit("run.when", {}) for _ in range(4)]
    assert all(await asyncio.gather(*(each.result(timeout=20) for each in later)))


@pytest.mark.long
async def test_a_worker_that_is_told_to_stop_leaves_no_process_behind(fresh: MakeSettings, tmp_path: Path) -> None:
    async with family(fresh, tmp_path / "pids", env={"MILEPOST_DRAIN": "0.2"}) as (system, _, run, pids):
        warden, fork_server, _ = _of(pids)
        await system.workers[0].stop()
        assert system.workers[0].returncode == 0
        assert gone([*pids, warden, fork_server])
        assert (await run.refresh()).attempt == 0
