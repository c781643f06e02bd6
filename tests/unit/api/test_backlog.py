"""What waits of a tenant, as the api counts it beside the work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from milepost.domain.quotas import Quotas
from milepost.store.records import Waiting
from milepost_api import backlog as module
from milepost_api.backlog import Backlog
from milepost_api.problems import Refusal

ONE = Quotas(queued=1)


class Counts:
    """Postgres: what waits of each tenant there, and how often it was asked."""

    def __init__(self) -> None:
        self.waiting: dict[str, Waiting] = {}
        self.asked = 0
        self._again = asyncio.Event()

    async def __call__(self, tenants: Sequence[tuple[str, int | None]]) -> dict[str, Waiting]:
        await asyncio.sleep(0)
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
