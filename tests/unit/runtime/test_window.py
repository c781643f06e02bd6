"""The window of a process, over a count that answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

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

    async def __call__(self, pairs: Sequence[Pair], most: int) -> Mapping[Pair, Room]:
        self.asked.put_nowait(list(pairs))
        if self.away:
            raise Unavailable("away")
        return {pair: Room(min(self.queued, most), 1) for pair in pairs}


@asynccontextmanager
async def _running(opened: Window[int]) -> AsyncIterator[None]:
    task = asyncio.create_task(opened.run())
    try:
        yield
    finally:
        task.cancel()


async def test_nobody_is_asked_in_quiet_times() -> None:
    count = Count()
    opened: Window[int] = Window(count, lambda _: None)
    async with _running(opened):
        for n in range(FLOOR // 2):
            assert opened.admits(PAIR, n)
        await asyncio.sleep(0)
        assert count.asked.empty()
        opened.admits(PAIR, 0)
        assert await count.asked.get() == [PAIR]


async def test_withheld_hints_go_when_there_is_room_also_after_the_database_was_away() -> None:
    count = Count()
    sent: asyncio.Queue[int] = asyncio.Queue()
    opened: Window[int] = Window(count, sent.put_nowait)
    count.queued, count.away = FLOOR, True
    admitted = [n for n in range(FLOOR + 5) if opened.admits(PAIR, n)]
    assert len(admitted) == FLOOR
    async with _running(opened):
        await count.asked.get()
        count.away = False
        await count.asked.get()
        await count.asked.get()
        assert sent.empty(), "as many wait as the window holds"
        count.queued = 2
        assert [await sent.get(), await sent.get()] == [FLOOR + 3, FLOOR + 4]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "REMEMBERED", 10)
    opened: Window[int] = Window(Count(), lambda _: None)
    for n in range(25):
        assert opened.admits(("a", f"q{n}"), n)
    assert len(opened._accounts) <= 10
