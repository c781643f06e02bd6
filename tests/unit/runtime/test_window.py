"""The window of a process, over a count that answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from milepost import window
from milepost.domain.window import FLOOR, Room
from milepost.errors import Unavailable
from milepost.window import Pair, Window

PAIR = ("a", "q")


class Count:
    """What waits, as far as the window is told; waits for whoever asks."""

    def __init__(self) -> None:
        self.queued = 0
        self.away = False
        self.asked: asyncio.Queue[list[Pair]] = asyncio.Queue()

    async def __call__(self, pairs: Sequence[Pair]) -> Mapping[Pair, Room]:
        self.asked.put_nowait(list(pairs))
        if self.away:
            raise Unavailable("away")
        return {pair: Room(self.queued, 1) for pair in pairs}


@asynccontextmanager
async def _running(opened: Window[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(opened.run())
    try:
        yield
    finally:
        task.cancel()


async def test_nobody_is_asked_in_quiet_times() -> None:
    count = Count()
    sent: list[tuple[int, bool]] = []
    opened: Window[int] = Window(count, lambda hint, more: sent.append((hint, more)))
    async with _running(opened):
        for n in range(FLOOR // 2):
            opened.offer(PAIR, n)
        await asyncio.sleep(0)
        assert count.asked.empty()
        assert sent == [(n, False) for n in range(FLOOR // 2)]
        opened.offer(PAIR, 0)
        assert await count.asked.get() == [PAIR]


async def test_withheld_hints_go_when_there_is_room_also_after_the_database_was_away() -> None:
    count = Count()
    sent: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()
    opened: Window[int] = Window(count, lambda hint, more: sent.put_nowait((hint, more)))
    count.queued, count.away = FLOOR, True
    for n in range(FLOOR + 5):
        opened.offer(PAIR, n)
    assert [await sent.get() for _ in range(FLOOR)] == [(n, n >= 3 * FLOOR // 4) for n in range(FLOOR)]
    async with _running(opened):
        await count.asked.get()
        count.away = False
        assert await sent.get() == (FLOOR + 4, True), "as many wait as the window holds: one asks workers to look"
        assert await sent.get() == (FLOOR + 3, True)
        count.queued = 2
        assert [await sent.get(), await sent.get()] == [(FLOOR + 1, False), (FLOOR + 2, False)]


async def test_of_many_that_are_withheld_in_a_queue_one_goes_at_a_time() -> None:
    """Workers that are told of it look for all who wait there."""
    count = Count()
    count.queued = FLOOR
    sent: list[tuple[str, bool]] = []
    opened: Window[str] = Window(count, lambda hint, more: sent.append((hint, more)))
    for tenant, queue in (("a", "q"), ("b", "q"), ("a", "r")):
        for _ in range(FLOOR + 9):
            opened.offer((tenant, queue), tenant + queue)
    sent.clear()
    async with _running(opened):
        for rounds in range(1, 4):
            await count.asked.get()
            assert sent == [("aq", True), ("ar", True)] * rounds


async def test_whose_account_is_forgotten_before_it_is_asked_for_again_keeps_nobody_from_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "REMEMBERED", 2)
    monkeypatch.setattr(window, "PAIRS", 1)
    count = Count()
    answered: asyncio.Queue[Pair] = asyncio.Queue()

    async def ask(pairs: Sequence[Pair]) -> Mapping[Pair, Room]:
        count.away = pairs == [("b", "q")] and answered.qsize() == 1
        rooms = await count(pairs)
        answered.put_nowait(pairs[0])
        return rooms

    opened: Window[int] = Window(ask, lambda _hint, _more: None)
    for tenant in ("a", "b"):
        for n in range(FLOOR // 2 + 1):
            opened.offer((tenant, "q"), n)
    async with _running(opened):
        assert [await count.asked.get() for _ in range(2)] == [[("a", "q")], [("b", "q")]]
        opened.offer(("c", "q"), 0)  # a has room since it was told, and makes room
        assert ("a", "q") not in opened._accounts
        assert await count.asked.get() == [("b", "q")]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "REMEMBERED", 10)
    opened: Window[int] = Window(Count(), lambda _hint, _more: None)
    for n in range(25):
        opened.offer(("a", f"q{n}"), n)
    assert len(opened._accounts) <= 10
