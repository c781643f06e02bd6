"""Handlers that misbehave, on the loop and in threads."""

import asyncio
import sys
import threading

from milepost import Context, task
from milepost.tasks.definition import TaskDefinition
from milepost.tasks.registry import registry
from milepost_worker.execution.inline import ThreadJob, call
from milepost_worker.outcome import Failed, Succeeded
from milepost_worker.running import Running


def _definition(name: str) -> TaskDefinition:
    definition = registry.get(name)
    assert definition is not None
    return definition


async def test_sys_exit_ends_the_attempt_and_nothing_else() -> None:
    @task("x.exit")
    async def exits(_ctx: Context) -> None:
        sys.exit(3)

    @task("x.exit_thread")
    def exits_in_a_thread(_ctx: Context) -> None:
        sys.exit(3)

    for outcome in (
        await call(_definition("x.exit"), (None,)),
        await ThreadJob(_definition("x.exit_thread"), (None,)).finished,
    ):
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "SystemExit"


async def test_a_thread_that_does_not_end_keeps_nobody_waiting() -> None:
    gate = threading.Event()

    @task("x.stuck")
    def stuck(_ctx: Context) -> None:
        gate.wait()

    @task("x.quick")
    def quick(_ctx: Context) -> int:
        return 7

    jobs = [ThreadJob(_definition("x.stuck"), (None,)) for _ in range(40)]
    assert await ThreadJob(_definition("x.quick"), (None,)).finished == Succeeded("7")
    assert not any(job.finished.done() for job in jobs)
    gate.set()
    for job in jobs:
        await job.finished


async def test_handlers_that_go_on_keep_their_slots_but_never_more_than_half_of_them() -> None:
    gate = threading.Event()

    @task("x.goes_on")
    def goes_on(_ctx: Context) -> None:
        gate.wait()

    definition = _definition("x.goes_on")
    running = Running(4)
    jobs = [ThreadJob(definition, (None,)) for _ in range(3)]
    free = [running.free]
    for job in jobs:
        running.leftovers.add(definition, job.finished)
        free.append(running.free)
    assert free == [4, 3, 2, 2]
    assert running.reserve(10) == 2
    waiting = asyncio.ensure_future(running.has_free())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    async with asyncio.timeout(10):
        await waiting
        for job in jobs:
            await job.finished
    assert len(running.leftovers) == 0
    assert running.free == 2


async def test_a_result_that_would_lose_digits_is_refused_and_says_what_to_do() -> None:
    @task("x.wide")
    async def wide(_ctx: Context) -> dict[str, int]:
        return {"n": 2**64}

    @task("x.wide_thread")
    def wide_in_a_thread(_ctx: Context) -> dict[str, int]:
        return {"n": 10**400}

    for outcome in (
        await call(_definition("x.wide"), (None,)),
        await ThreadJob(_definition("x.wide_thread"), (None,)).finished,
    ):
        assert isinstance(outcome, Failed)
        assert (outcome.error.type, outcome.error.retryable) == ("InvalidResult", False)
        assert "return it as text" in outcome.error.message
