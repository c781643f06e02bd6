"""Handlers in processes: what they do to themselves, their worker and its other tasks."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from milepost.client import Client, Run
from milepost.errors import TaskFailed
from milepost_schemas.task import TaskError, TaskState
from tests.conftest import eventually
from tests.processes import gone, noted
from tests.system import System

pytestmark = pytest.mark.stack
AUTOGROUP = Path("/proc/self/autogroup").exists()
"""Whether the kernel shares the processor out by sessions."""


async def error_of(run: Run) -> TaskError:
    """Return why a task failed."""
    with pytest.raises(TaskFailed):
        await run.result(timeout=30)
    error = (await run.refresh()).error
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("type_", "payload", "error", "words"),
    [
        ("run.take", {"amount": 2048}, "OutOfMemory", "more memory than the 256 MiB"),
        ("run.fill", {}, "OutOfMemory", "more memory than the 256 MiB"),
        ("run.take_natively", {"amount": 2048}, "Crashed", "SIGSEGV"),
        ("run.use_up_natively", {}, "OutOfMemory", "of the 256 MiB its task may take"),
        ("run.use_up_natively", {"amount": 100}, "Crashed", "SIGABRT"),
        ("run.bad_alloc", {}, "OutOfMemory", "its last words were 'std::bad_alloc'"),
        ("run.segfault", {}, "Crashed", "SIGSEGV"),
        ("run.kill", {}, "Crashed", "SIGKILL"),
        ("run.spin", {}, "CpuLimit", "1 s of processor time"),
        ("run.small", {}, "MemoryLimitTooLow", "16 MiB is too little"),
        ("run.garble", {}, "Garbled", "hello, i"),
        ("run.garble", {"amount": 1}, "Garbled", "wrote into the connection"),
        ("run.close", {}, "Garbled", "closed the connection"),
    ],
)
async def test_a_handler_that_goes_wrong_fails_its_own_attempt_with_the_reason_and_nobody_elses(
    client: Client, tmp_path: Path, type_: str, payload: dict[str, Any], error: str, words: str
) -> None:
    gate = tmp_path / "gate"
    neighbours = [await client.submit(each, {"path": str(gate)}) for each in ("test.gate", "test.process_gate")]
    for neighbour in neighbours:

        async def runs(run: Run = neighbour) -> bool:
            return (await run.refresh()).state is TaskState.RUNNING

        await eventually(runs, "the neighbour to run")
    found = await error_of(await client.submit(type_, payload))
    assert found.type == error
    assert words in found.message
    if type_.startswith("run.take"):
        assert "256 MiB" in found.message
        assert "at its peak" in found.message
    gate.touch()
    for neighbour in neighbours:
        assert await neighbour.result(timeout=20) == {"attempt": 1}


async def test_a_native_crash_tells_how_much_was_in_use_of_which_limit_and_what_to_do(client: Client) -> None:
    """Also where nothing of it was ever touched, so that no peak of resident memory shows it."""
    error = await error_of(await client.submit("run.use_up_natively", {}))
    used = re.search(r"ended by SIGABRT with (\d+) MiB in use of the 256 MiB its task may take", error.message)
    assert used is not None, error.message
    assert 250 <= int(used[1]) <= 256
    assert "Raise memory=" in error.message
    assert error.traceback is not None
    assert "in use_up_natively" in error.traceback


async def test_files_that_a_crashed_process_had_mapped_are_not_taken_for_memory_it_ran_out_of(
    client: Client, tmp_path: Path
) -> None:
    error = await error_of(await client.submit("run.map_and_crash", {"path": str(tmp_path / "file"), "amount": 300}))
    assert error.type == "Crashed", error.message
    peak = re.search(r"at its peak it held (\d+) MiB", error.message)
    assert peak is not None, error.message
    assert int(peak[1]) > 300


async def test_a_crash_in_native_code_shows_the_line_it_happened_in(client: Client) -> None:
    error = await error_of(await client.submit("run.segfault", {}))
    assert error.traceback is not None
    assert "execution_tasks.py" in error.traceback
    assert "in segfault" in error.traceback


async def test_nothing_a_handler_started_outlives_its_attempt(client: Client, tmp_path: Path) -> None:
    """Neither a child that goes on nor a daemon in a session of its own."""
    note = tmp_path / "pids"
    run = await client.submit("run.leaves_family", {"path": str(note)})
    assert await run.result(timeout=20) == "left them behind"
    pids = await noted(note)
    assert len(pids) == 3
    assert gone(pids)


@pytest.mark.parametrize("type_", ["run.deaf", "run.family"])
async def test_a_handler_that_ignores_being_cancelled_is_killed_with_all_it_started(
    client: Client, tmp_path: Path, type_: str
) -> None:
    note = tmp_path / "pids"
    run = await client.submit(type_, {"path": str(note)})
    pids = await noted(note)
    assert not gone(pids)
    await run.cancel()
    with pytest.raises(TaskFailed):
        await run.result(timeout=30)
    assert (await run.refresh()).state is TaskState.CANCELLED
    assert gone(pids)


async def test_a_handler_that_does_not_look_is_given_sigterm_and_time_to_tidy_up(
    client: Client, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    run = await client.submit("run.tidy", {"path": str(note)})
    pids = await noted(note)
    await run.cancel()
    with pytest.raises(TaskFailed):
        await run.result(timeout=30)
    assert gone(pids)
    assert (tmp_path / "pids.tidied").exists()


async def test_what_a_handler_prints_is_in_the_workers_log_line_by_line_but_never_without_end(
    client: Client, system: System
) -> None:
    run = await client.submit("run.print", {"amount": 5000})
    assert await run.result(timeout=20) == "said"

    async def logged() -> bool:
        lines = [line for line in system.workers[0].log_path.read_text().splitlines() if str(run.id) in line]
        text = "\n".join(lines)
        words = ("a word from the handler", "and an error", "from a program", "was left out")
        return all(word in text for word in words) and len(lines) < 1000

    await eventually(logged, "the output to be logged")


async def test_a_thread_that_does_not_end_is_told_in_the_log_and_when_it_ends_after_all(
    client: Client, system: System, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    error = await error_of(await client.submit("run.stuck", {"path": str(gate)}))
    assert error.type == "Timeout"

    def logs(words: str) -> bool:
        return words in system.workers[0].log_path.read_text()

    async def told() -> bool:
        return logs("the handler does not end; its task goes on without it")

    await eventually(told, "the log to tell of the thread")
    gate.touch()

    async def told_again() -> bool:
        return logs("a handler ended after all")

    await eventually(told_again, "the log to tell of its end")


async def test_many_processes_start_at_once(client: Client) -> None:
    runs = [await client.submit("run.when", {}) for _ in range(40)]
    results = await asyncio.gather(*(run.result(timeout=60) for run in runs))
    assert len(set(results)) == 40


async def test_handlers_leave_the_processor_to_their_worker_with_all_they_start(client: Client, system: System) -> None:
    found = await (await client.submit("run.nice", {})).result(timeout=30)
    worker = system.workers[0].pid
    assert worker is not None
    nice = min(19, os.getpriority(os.PRIO_PROCESS, worker) + system.settings.process_nice)
    assert (found["own"], found["child"]) == (nice, nice)
    if AUTOGROUP:
        assert found["session"] == system.settings.process_nice
