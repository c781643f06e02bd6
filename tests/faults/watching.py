"""What fault tests have in common: a client that watches while things break, and who runs what."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import psutil
import pytest

from milepost.client import Client, Run, RunEvent
from milepost.embedded.processes import ManagedProcess
from milepost_schemas.task import TaskState
from tests.conftest import eventually
from tests.system import System, opened_store


class Watch:
    """A client that watches a task from a task of its own, so that tests can break things meanwhile."""

    def __init__(self, run: Run) -> None:
        self.events: list[RunEvent] = []
        self._run = run
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        async for event in self._run.watch():
            self.events.append(event)
            self._changed.set()

    async def sees(self, what: str, check: Callable[[list[RunEvent]], bool], within_s: float = 30.0) -> None:
        """Wait until the events so far satisfy `check`."""
        try:
            async with asyncio.timeout(within_s):
                while not check(self.events):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"waited {within_s:g} s for {what}; saw {self.events}")

    async def started(self) -> None:
        """Wait for the first progress."""
        await self.sees("progress", lambda events: any(e.task.progress is not None for e in events))

    async def end(self, within_s: float = 40.0) -> list[RunEvent]:
        """Return all events once the task is over."""
        async with asyncio.timeout(within_s):
            await self._task
        return self.events


async def owner(system: System, run: Run) -> int:
    """Return the index of the worker that runs a task."""
    async with opened_store(system.settings) as store:
        row = await store.get("default", run.id)
        assert row is not None
        (pid,) = [worker.pid for worker in await store.workers() if worker.id == row["worker"]]
    return [worker.pid for worker in system.workers].index(pid)


async def runs(client: Client, *tasks: Run) -> None:
    """Wait until all of them run."""

    async def check() -> bool:
        return all([(await client.get(task.id)).state is TaskState.RUNNING for task in tasks])

    await eventually(check, "tasks to run")


async def told(worker: ManagedProcess, words: str, within_s: float = 20.0, *, times: int = 1) -> str:
    """Wait until a worker's log has so many lines with these words and return the last."""
    found: list[str] = []

    async def check() -> bool:
        # All of it: a worker under load says a few things of each task.
        found[:] = [line for line in worker.log_tail(1_000_000) if words in line]
        return len(found) >= times

    await eventually(check, f"{worker.name} to say {words!r}; it said:\n" + "\n".join(worker.log_tail()), within_s)
    return found[-1]


def family(worker: ManagedProcess) -> list[psutil.Process]:
    """Return the processes a worker has started, and theirs."""
    return psutil.Process(worker.pid).children(recursive=True)


async def present(system: System, count: int) -> list[UUID]:
    """Wait until so many workers say that they hold their presence, and return their ids."""
    found: list[UUID] = []

    async def check() -> bool:
        async with opened_store(system.settings) as store:
            rows = await store._fetch("workers", 15.0)
        found[:] = [row["id"] for row in rows if row["presence"]]
        return len(found) >= count

    await eventually(check, f"{count} workers to be present")
    return found
