"""What becomes of an attempt when it is over."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from milepost import Context, task
from milepost_worker.attempt import Attempt, StopReason
from milepost_worker.outcome import Dropped, Failed, Outcome, Stopped, Succeeded
from milepost_worker.pump import Pump
from tests.conftest import eventually
from tests.unit.worker.test_pump import attempt_of


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    gc.collect()
    yield
    gc.enable()


def _hanging() -> set[str]:
    """Return the names of our classes with instances that only the collector can free; it frees them."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return {type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("milepost")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def _run(type_: str, pump: Pump, stop: StopReason | None = None) -> "tuple[Outcome, weakref.ref[Attempt]]":
    """Run a handler to its end; with a reason, stop it when it has begun."""
    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    attempt = attempt_of(type_, pump, lambda _: None)
    attempt.start(lambda _, outcome: over.set_result(outcome))
    if stop is not None:
        await asyncio.sleep(0)
        attempt.stop(stop)
    return await over, weakref.ref(attempt)


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(
    ("type_", "stop", "outcome"),
    [
        ("x.returns", None, Succeeded),
        ("x.threads", None, Succeeded),
        ("x.raises", None, Failed),
        ("x.waits", StopReason.CANCELLED, Stopped),
        ("x.waits", StopReason.LEASE_LOST, Dropped),
    ],
)
async def test_it_hangs_in_no_cycle(type_: str, stop: StopReason | None, outcome: type[Outcome]) -> None:
    """Or a busy worker would spend a quarter of its time in the garbage collector."""

    @task("x.returns")
    async def returns(ctx: Context) -> int:
        ctx.progress(1, 2)
        ctx.log("a line")
        ctx.emit("out", "a chunk")
        return 1

    @task("x.threads")
    def threads(ctx: Context) -> int:
        ctx.progress(1, 2)
        ctx.log("a line")
        ctx.emit("out", "a chunk")
        return 1

    @task("x.raises")
    async def raises(ctx: Context) -> None:
        ctx.emit("out", "a chunk")
        raise ValueError("no")

    @task("x.waits")
    async def waits(_ctx: Context) -> None:
        await asyncio.Event().wait()

    pump = Pump()
    pumping = asyncio.create_task(pump.run())
    ended, ref = await _run(type_, pump, stop)
    assert isinstance(ended, outcome)

    async def is_gone() -> bool:
        return ref() is None and not pump._waiting

    await eventually(is_gone, "the attempt to be gone without the collector")
    pumping.cancel()
    assert _hanging() == set()  # nor does anything it was made of


async def test_one_that_was_stopped_before_its_handler_began_ends_all_the_same() -> None:
    began = False

    @task("x.begins")
    async def begins(_ctx: Context) -> None:
        nonlocal began
        began = True
        await asyncio.Event().wait()

    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    attempt = attempt_of("x.begins", Pump(), lambda _: None)
    attempt.stop(StopReason.RELEASED)
    attempt.start(lambda _, outcome: over.set_result(outcome))
    async with asyncio.timeout(10):
        assert await over == Dropped()
    assert not began


async def test_it_says_whether_its_handler_has_ended_or_goes_on_without_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("milepost_worker.attempt.END_S", 0.05)
    going_on = asyncio.Event()

    @task("x.swallows")
    async def swallows(_ctx: Context) -> None:
        while not going_on.is_set():
            with suppress(asyncio.CancelledError):
                await going_on.wait()

    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    attempt = attempt_of("x.swallows", Pump(), lambda _: None)
    attempt.start(lambda _, outcome: over.set_result(outcome))
    await asyncio.sleep(0)
    attempt.lease_until = 0.0
    attempt.stop(StopReason.LEASE_LOST)
    try:
        async with asyncio.timeout(10):
            assert await over == Dropped(ended=False)
    finally:
        going_on.set()
