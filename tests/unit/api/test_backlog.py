"""What waits of a tenant, as the api counts it beside the work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from milepost.domain.quotas import Quotas
from milepost.errors import Unavailable
from milepost.store.records import Waiting
from milepost_api import backlog as module
from milepost_api.backlog import Backlog
from milepost_api.problems import Refusal
from tests.conftest import eventually

ONE = Quotas(queued=1)


class Counts:
    """Postgres: what waits of each tenant there, and how often it was asked."""

    def __init__(self) -> None:
        self.waiting: dict[str, Waiting] = {}
        self.asked = 0
        self.stuck: set[str] = set()
        """Tenants whose count does not come to an end before they are taken out of here."""
        self._again = asyncio.Event()

    async def __call__(self, tenants: Sequence[tuple[str, int | None]]) -> dict[str, Waiting]:
        await asyncio.sleep(0)
        while self.stuck & {name for name, _ in tenants}:
            await asyncio.sleep(0.001)
        self.asked += 1
        self._again.set()
        return {name: self.waiting.get(name, Waiting(0, 0)) for name, _ in tenants}

    async def twice_more(self) -> None:
        """Wait until a count has begun and ended."""
        until = self.asked + 2
        async with asyncio.timeout(30):
            while self.asked < until:
                self._again.clear()
                await self._again.wait()


@contextlib.asynccontextmanager
async def counting(counts: Counts) -> AsyncIterator[Backlog]:
    backlog = Backlog(counts)
    running = asyncio.create_task(backlog.run())
    try:
        yield backlog
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    monkeypatch.setattr(module, "PART", 0)
    monkeypatch.setattr(module, "TOGETHER_S", 0.1)
    monkeypatch.setattr(module, "FIRST_S", 0.1)


async def test_what_is_on_its_way_counts_until_it_is_stored_and_was_counted() -> None:
    counts = Counts()
    async with counting(counts) as backlog:
        await backlog.look("acme", ONE)
        admitted = backlog.admit("acme", ONE, 2)
        await counts.twice_more()
        with pytest.raises(Refusal, match="1 tasks of this tenant wait already"):
            backlog.admit("acme", ONE, 2)
        counts.waiting["acme"] = Waiting(1, 2)
        admitted.settle()
        await counts.twice_more()
        with pytest.raises(Refusal, match="1 tasks of this tenant wait already"):
            backlog.admit("acme", ONE, 2)
        counts.waiting.clear()
        await counts.twice_more()
        backlog.admit("acme", ONE, 2).settle()


async def test_a_tenant_that_takes_long_to_count_is_refused_until_it_was_and_nobody_else() -> None:
    counts = Counts()
    counts.stuck.add("slow")
    counts.waiting["quick"] = Waiting(1, 2)
    async with counting(counts) as backlog:
        for _ in range(2):
            with pytest.raises(Unavailable, match="could not be counted yet"):
                await backlog.look("slow", ONE)
        await backlog.look("quick", ONE)
        with pytest.raises(Refusal):
            backlog.admit("quick", ONE, 2)
        counts.stuck.clear()

        async def counted() -> bool:
            return backlog.known("slow")

        await eventually(counted, "it is counted by itself")
        backlog.admit("slow", ONE, 2)


async def test_many_who_come_at_once_wait_for_one_first_count() -> None:
    counts = Counts()
    backlog = Backlog(counts)
    first = asyncio.create_task(backlog.look("acme", ONE))
    others = [asyncio.create_task(backlog.look("acme", ONE)) for _ in range(9)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    assert (counts.asked, backlog.known("acme")) == (1, True)


async def test_a_tenant_whose_count_comes_to_take_long_keeps_the_last_one_and_others_are_counted_on() -> None:
    counts = Counts()
    two = Quotas(queued=2)
    async with counting(counts) as backlog:
        for name in ("slow", "quick"):
            await backlog.look(name, two)
        counts.stuck.add("slow")
        counts.waiting["quick"] = Waiting(2, 4)
        await eventually(lambda: _waits(backlog, "quick", 2), "it is counted although another is stuck")
        # As it was, and what came since, until somebody counts again: at its quota it is refused.
        for _ in range(2):
            backlog.admit("slow", two, 2).settle()
        await counts.twice_more()
        with pytest.raises(Refusal):
            backlog.admit("slow", two, 2)
        counts.stuck.clear()
        await eventually(lambda: _waits(backlog, "slow", 0), "it is counted again")


async def _waits(backlog: Backlog, tenant: str, tasks: int) -> bool:
    waiting = backlog.waiting(tenant)
    return waiting is not None and waiting.tasks == tasks
