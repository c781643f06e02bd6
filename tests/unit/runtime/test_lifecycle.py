"""Loops that are kept running, and how they end."""

import asyncio

from milepost.runtime.lifecycle import background, jittered


async def test_a_loop_that_fails_is_started_again() -> None:
    runs = 0
    enough = asyncio.Event()

    async def body() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            enough.set()
        raise ValueError("again")

    async with background(("failing", body)):
        async with asyncio.timeout(10):
            await enough.wait()


async def test_a_cancellation_that_a_library_swallows_still_ends_the_loop() -> None:
    begun = asyncio.Event()
    again = asyncio.Event()

    async def body() -> None:
        if begun.is_set():
            again.set()
            await asyncio.Event().wait()
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with asyncio.timeout(10):
        async with background(("swallowing", body)):
            await begun.wait()
    assert not again.is_set()


async def test_a_stray_cancellation_inside_a_loop_does_not_end_it() -> None:
    runs = 0
    enough = asyncio.Event()

    async def body() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            enough.set()
        raise asyncio.CancelledError

    async with background(("stray", body)):
        async with asyncio.timeout(10):
            await enough.wait()


def test_waits_grow_with_jitter_up_to_their_cap() -> None:
    for attempt in (0, 1, 5, 1000):
        assert 0 < jittered(attempt, base=0.1, cap=2.0) <= 2.0
