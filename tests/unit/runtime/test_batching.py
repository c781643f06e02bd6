"""Group commit."""

import asyncio
from collections.abc import Sequence

import pytest

from milepost.errors import Unavailable
from milepost.runtime.batching import BUSY, GroupCommit


class Writer:
    """Records what it was given; writes wait until `go` is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.bad: set[int] = set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.go.wait()
        if self.bad & set(items):
            raise ValueError(f"bad: {sorted(self.bad & set(items))}")
        return [item * 10 for item in items]


async def test_a_lonely_item_is_written_at_once() -> None:
    writer = Writer()
    assert await GroupCommit(writer)(7) == 70
    assert writer.batches == [[7]]


async def test_what_arrives_during_a_write_goes_together_in_the_next() -> None:
    writer = Writer()
    writer.go.clear()
    commit = GroupCommit(writer)
    first = asyncio.ensure_future(commit(0))
    while not writer.batches:
        await asyncio.sleep(0)
    rest = [asyncio.ensure_future(commit(n)) for n in range(1, 50)]
    await asyncio.sleep(0)
    writer.go.set()
    assert await asyncio.gather(first, *rest) == [n * 10 for n in range(50)]
    assert writer.batches == [[0], list(range(1, 50))]


async def test_a_batch_is_never_larger_than_its_limit() -> None:
    writer = Writer()
    commit = GroupCommit(writer, limit=8)
    await asyncio.gather(*(commit(n) for n in range(50)))
    assert max(map(len, writer.batches)) == 8
    assert sorted(sum(writer.batches, [])) == list(range(50))


async def test_one_bad_item_does_not_fail_its_neighbours() -> None:
    writer = Writer()
    writer.bad = {3}
    commit = GroupCommit(writer, transient=lambda _error: False)
    results = await asyncio.gather(*(commit(n) for n in range(6)), return_exceptions=True)
    assert [r for r in results if isinstance(r, int)] == [0, 10, 20, 40, 50]
    assert isinstance(results[3], ValueError)


async def test_a_server_that_is_away_is_not_asked_once_more_for_each_item() -> None:
    writer = Writer()
    writer.bad = {3}
    commit = GroupCommit(writer, transient=lambda _error: True)
    results = await asyncio.gather(*(commit(n) for n in range(6)), return_exceptions=True)
    assert all(isinstance(r, ValueError) for r in results)
    assert len(writer.batches) == 1


async def test_a_caller_that_gives_up_does_not_disturb_the_others() -> None:
    writer = Writer()
    writer.go.clear()
    commit = GroupCommit(writer)
    calls = [asyncio.ensure_future(commit(n)) for n in range(3)]
    while not writer.batches:
        await asyncio.sleep(0)
    calls[1].cancel()
    writer.go.set()
    assert await calls[0] == 0
    assert await calls[2] == 20
    with pytest.raises(asyncio.CancelledError):
        await calls[1]


async def test_drain_waits_for_everything() -> None:
    writer = Writer()
    commit = GroupCommit(writer, limit=2)
    calls = [asyncio.ensure_future(commit(n)) for n in range(9)]
    await asyncio.sleep(0)
    await commit.drain()
    assert all(call.done() for call in calls)


async def test_what_nobody_waits_for_any_more_is_not_written() -> None:
    writer = Writer()
    writer.go.clear()
    commit = GroupCommit(writer)
    first = asyncio.ensure_future(commit(0))
    while not writer.batches:
        await asyncio.sleep(0)
    given_up = [asyncio.ensure_future(commit(n)) for n in range(1, 5)]
    kept = asyncio.ensure_future(commit(9))
    await asyncio.sleep(0)
    for call in given_up:
        call.cancel()
    await asyncio.sleep(0)
    writer.go.set()
    assert (await first, await kept) == (0, 90)
    assert writer.batches == [[0], [9]]


async def test_too_many_waiting_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.runtime.batching.WAITING_MOST", 3)
    writer = Writer()
    writer.go.clear()
    commit = GroupCommit(writer)
    first = asyncio.ensure_future(commit(0))
    while not writer.batches:
        await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(commit(n)) for n in range(1, 4)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="Nothing was stored"):
        await commit(4)
    writer.go.set()
    assert await asyncio.gather(first, *waiting) == [0, 10, 20, 30]


async def test_a_drain_ends_also_when_a_write_does_not() -> None:
    writer = Writer()
    writer.go.clear()
    commit = GroupCommit(writer)
    call = asyncio.ensure_future(commit(1))
    while not writer.batches:
        await asyncio.sleep(0)
    assert not await commit.drain(within_s=0.01)
    writer.go.set()
    assert await commit.drain()
    assert await call == 10


async def test_after_a_write_of_many_the_next_gathers_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.runtime.batching.REST_S", 0.5)
    writer = Writer()
    commit = GroupCommit(writer)
    writer.go.clear()
    many = [asyncio.ensure_future(commit(n)) for n in range(BUSY + 1)]
    while not writer.batches:
        await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(commit(10))]
    await asyncio.sleep(0)
    writer.go.set()
    await asyncio.gather(*many)
    waiting.append(asyncio.ensure_future(commit(11)))
    assert await asyncio.gather(*waiting) == [100, 110]
    assert writer.batches == [[0, 1, 2, 3], [10, 11]]
