"""What an operator reads: one line for each move of a task, and as many lines as he asks for."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from milepost.client import Client, Run
from milepost.domain.states import TRANSITIONS
from milepost.embedded.processes import ManagedProcess
from tests.conftest import eventually
from tests.otlp import Receiver, Seen
from tests.system import System

pytestmark = pytest.mark.stack

_MOVES = """
select task_id::text, source, target, attempt, epoch from milepost_audit.moves
where source is distinct from target order by n
"""


def lines_of(process: ManagedProcess) -> list[dict[str, Any]]:
    """Return what a process has logged."""
    return [orjson.loads(line) for line in process.log_path.read_bytes().splitlines() if line.startswith(b"{")]


def lines(system: System) -> list[dict[str, Any]]:
    """Return what all have logged."""
    return [line for process in system.processes for line in lines_of(process)]


async def runs_on(system: System, run: Run, attempt: int) -> ManagedProcess:
    """Return the worker that claimed a task, once it says so."""
    found: list[ManagedProcess] = []

    def claimed(line: dict[str, Any]) -> bool:
        return (line.get("by"), line.get("task"), line.get("attempt")) == ("claim", str(run.id), attempt)

    async def there() -> bool:
        found.extend(worker for worker in system.workers if any(map(claimed, lines_of(worker))))
        return bool(found)

    await eventually(there, f"attempt {attempt} of {run.id}")
    return found[-1]


async def handed_over(system: System, client: Client, gate: Path) -> Run:
    """Have a task released by a worker that is told to stop, and taken back from one that is killed; then it ends."""
    run = await client.submit("test.gate", {"path": str(gate)})
    first = await runs_on(system, run, 1)
    await first.stop()
    await first.start()
    await system.has_workers(2)

    async def released() -> bool:
        return any(line.get("by") == "release" and line.get("task") == str(run.id) for line in lines(system))

    await eventually(released, "the release")

    async def running() -> bool:
        task = await client.get(run.id)
        return task.state == "running" and task.epoch > 1

    await eventually(running, "the task to run again")
    second = system.workers[1 - system.workers.index(first)]
    second.kill()
    await second.start()
    await system.has_workers(2)
    gate.touch()  # noqa: ASYNC240 - a moment
    await run.result()
    return run


def runs_of(receiver: Receiver, trace: str) -> dict[str, Seen]:
    """Return the spans of a task's attempts by what came of them."""
    return {s.attributes["milepost.task.outcome"]: s for s in receiver.of(trace) if s.name.startswith("process test.")}


async def the_sweep_spoke_for_the_dead(receiver: Receiver, trace: str) -> None:
    """See that the attempt of a worker that was killed has a span, which the one after it is linked to."""

    async def there() -> bool:
        return runs_of(receiver, trace).keys() == {"released", "lease lost", "succeeded"}

    await eventually(there, "a span of each attempt", 30.0)
    lost, after = (runs_of(receiver, trace)[outcome] for outcome in ("lease lost", "succeeded"))
    assert (lost.failed, lost.attributes["error.type"]) == (True, "LeaseLost")
    assert "the one that took it back" in lost.said
    assert (trace, lost.id) in after.links
    assert lost.began < lost.ended


async def ended_by_others(system: System, client: Client, gate: Path) -> None:
    """Have tasks end that no worker brought to an end: cancelled while they wait and while they run, or too late."""
    await client.queues.pause("slow")

    async def known() -> bool:
        return all("limits have changed" in (line["message"] for line in lines_of(w)) for w in system.workers)

    await eventually(known, "workers to know of the pause")
    late = await client.submit("test.slow", {"path": str(gate)}, expires_in=0.2)
    above = await client.submit("traced.loop", delay=3600)
    below = await client.submit("traced.loop", delay=3600, parent_id=above.id)
    runs = await client.submit("test.gate", {"path": str(gate)})
    async for event in runs.watch():
        if event.kind == "started":
            break
    for run in (above, runs):
        await run.cancel()
    for run, state in ((late, "failed"), (above, "cancelled"), (below, "cancelled"), (runs, "cancelled")):

        async def over(run: Run = run, state: str = state) -> bool:
            return (await client.get(run.id)).state == state

        await eventually(over, f"{run.id} to be {state}")
    await client.queues.resume("slow")


async def test_each_move_of_a_task_has_one_line_in_the_whole_system(
    system: System, receiver: Receiver, tmp_path: Path
) -> None:
    async with system.client() as client:
        for payload in ({}, {"fail": 1}):
            await (await client.submit("traced.loop", payload)).result()
        dead = await client.submit("test.permanent")
        for _ in range(2):
            async for _ in dead.watch():
                pass
            await dead.retry()
        async for _ in dead.watch():
            pass
        await ended_by_others(system, client, tmp_path / "never")
        run = await handed_over(system, client, tmp_path / "gate")
        trace = (await client.get(run.id)).trace_id
    assert trace is not None
    await the_sweep_spoke_for_the_dead(receiver, trace)
    connection = await asyncpg.connect(system.settings.database_url.get_secret_value())
    moves = Counter(tuple(row) for row in await connection.fetch(_MOVES))
    await connection.close()

    def told() -> Counter[tuple[Any, ...]]:
        said = [line for line in lines(system) if "by" in line and line.get("module") == "milepost.tasks"]
        assert all(len(line["trace_id"]) == 32 and line["type"] and line["queue"] for line in said)
        names = {(t.name, t.source, t.target) for t in TRANSITIONS}
        assert {(line["by"], line["from"], line["to"]) for line in said} <= names
        return Counter((line["task"], line["from"], line["to"], line["attempt"], line["epoch"]) for line in said)

    async def all_told() -> bool:
        return told() == moves

    try:
        await eventually(all_told, "one line for each move", 10.0)
    except pytest.fail.Exception:
        pytest.fail(f"missing: {moves - told()}\ntoo many: {told() - moves}")
    made = {line["by"] for line in lines(system) if line.get("module") == "milepost.tasks"}
    assert made == {t.name for t in TRANSITIONS}, "not every sort of move was made here"


async def say(system: System, *words: str) -> str:
    """Run `milepost log-level`."""
    env = os.environ | {"MILEPOST_DATABASE_URL": system.settings.database_url.get_secret_value()}
    command = [sys.executable, "-m", "milepost.cli", "log-level", *words]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_levels_change_while_a_service_runs_and_change_back(system: System) -> None:
    def said(process: ManagedProcess, message: str) -> int:
        return sum(line["message"] == message for line in lines_of(process))

    async def until(process: ManagedProcess, message: str, times: int) -> None:
        async def there() -> bool:
            return said(process, message) >= times

        await eventually(there, f"{message!r} in the log of {process.name}, {times} times")

    more, back = "logging from another level for a while", "logging as the settings say again"
    async with system.client() as client:
        await client.workers()
        assert said(system.api, "answered") == 0
        assert "api: debug, for 1 h 0 min" in await say(system, "debug", "--service", "api", "--for", "1h")
        await until(system.api, more, 1)
        await client.workers()
        await until(system.api, "answered", 1)
        (line, *_) = [line for line in lines_of(system.api) if line["message"] == "answered"]
        assert (line["level"], line["route"], len(line["trace_id"])) == ("debug", "GET /v1/workers", 32)
        assert said(system.workers[0], more) == 0
        assert "api: as its settings say" in await say(system, "usual")
        await until(system.api, back, 1)
        # Less, and by itself back.
        await say(system, "error", "--service", "worker", "--for", "2s")
        for worker in system.workers:
            await until(worker, more, 1)
            await until(worker, back, 1)
        run = await client.submit("traced.loop")
        await run.result()

        async def claimed() -> bool:
            return any(line.get("task") == str(run.id) and line.get("by") == "claim" for line in lines(system))

        await eventually(claimed, "lines at the usual level")


async def test_lines_problems_and_tasks_name_the_trace(system: System, receiver: Receiver) -> None:  # noqa: ARG001
    async with system.client() as client:
        run = await client.submit("test.log_lines", {"lines": 5})
        async for _ in run.watch():
            pass
        trace = (await client.get(run.id)).trace_id

        async def spoken() -> bool:
            mine = [line for line in lines(system) if line.get("task") == str(run.id)]
            return len(mine) > 3 and any(line.get("module") == "milepost.worker.handler" for line in mine)

        await eventually(spoken, "lines of the handler")
    assert {line["trace_id"] for line in lines(system) if line.get("task") == str(run.id)} == {trace}
