"""When attempts tell what happened to them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from milepost import Context, task
from milepost.store import Claimed
from milepost.tasks.registry import registry
from milepost_schemas import EventKind
from milepost_worker.attempt import Attempt, Runners, StopReason
from milepost_worker.execution.inline import ThreadJob
from milepost_worker.execution.leftovers import Leftovers
from milepost_worker.outcome import Dropped, Outcome, Succeeded
from milepost_worker.pump import Pump
from milepost_worker.voice import Outlets
from tests.conftest import eventually


def attempt_of(type_: str, pump: Pump, tell: Callable[[Any], None]) -> Attempt:
    """Return an attempt whose events are told."""
    definition = registry.get(type_)
    assert definition is not None
    now = datetime.now(UTC)
    claimed = Claimed(
        id=UUID(int=1), tenant="default", type=type_, queue="default", priority=1, epoch=1, attempt=1, max_attempts=3,
        timeout_s=None, payload="{}", labels="{}", key=None, parent_id=None, root_id=UUID(int=1), traceparent=None,
        started_at=now, created_at=now,
    )  # fmt: skip

    def take(*event: Any) -> bool:
        tell(event)
        return True

    unused: Any = None
    runners = Runners(ThreadJob, unused, Leftovers(lambda: None))
    return Attempt(claimed, definition, runners, Outlets(take, pump.add), 1e12)


async def test_a_short_task_tells_nothing_before_its_end_however_late_the_loop_got_to_it() -> None:
    @task("x.short")
    async def short(_ctx: Context) -> None:
        """Return at once."""

    pump, told = Pump(), list[Any]()
    attempt = attempt_of("x.short", pump, told.append)
    attempt.began -= 10.0  # claimed long ago, by a loop with much else to do
    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    attempt.start(lambda _, outcome: over.set_result(outcome))
    assert isinstance(await over, Succeeded)
    pump._pump(asyncio.get_running_loop().time() + 10.0)
    assert told == []
    assert attempt.trail.close()[1]["state"] == "running"  # it goes with the end


async def test_nor_does_it_when_the_pump_comes_between_its_handlers_end_and_its_own() -> None:
    loop = asyncio.get_running_loop()

    @task("x.short")
    async def short(ctx: Context) -> None:
        ctx.progress(1, 2)
        loop.call_soon(pump._pump, loop.time() + 10.0)

    pump, told = Pump(), list[Any]()
    attempt = attempt_of("x.short", pump, told.append)
    over: asyncio.Future[Outcome] = loop.create_future()
    attempt.start(lambda _, outcome: over.set_result(outcome))
    assert isinstance(await over, Succeeded)
    assert told == []
    assert set(attempt.trail.close()[1]) >= {"state", "progress"}


async def test_a_start_and_progress_that_was_held_back_are_told_while_the_handler_runs() -> None:
    go_on = asyncio.Event()

    @task("x.long")
    async def long(ctx: Context) -> None:
        ctx.progress(float("nan"))  # cannot be shown, and must not hide what follows
        await go_on.wait()
        ctx.progress(1, 2)
        await asyncio.Event().wait()

    pump, told = Pump(), list[Any]()
    attempt = attempt_of("x.long", pump, told.append)
    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    attempt.start(lambda _, outcome: over.set_result(outcome))
    pumping = asyncio.create_task(pump.run())

    async def has(*kinds: EventKind) -> bool:
        return [event[4] for event in told] == list(kinds)

    try:
        await eventually(lambda: has(EventKind.STARTED), "the start to be told")
        attempt.context._next_at = asyncio.get_running_loop().time() + 0.3  # so that what comes now is held back
        go_on.set()
        await eventually(lambda: has(EventKind.STARTED, EventKind.PROGRESS), "the progress held back to be told")
    finally:
        attempt.stop(StopReason.RELEASED)
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
    assert await over == Dropped()
