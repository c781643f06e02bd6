"""What an operator's pager is told: stands where Prometheus expects an Alertmanager."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web


@dataclass(frozen=True, slots=True)
class Told:
    """An alert that fires, with its texts as they are read."""

    labels: dict[str, str]
    texts: dict[str, str]


class Pager:
    """Knows what fires now, from the moment Prometheus says so to the moment it says that it is over."""

    def __init__(self) -> None:
        self.address = ""
        """Host and port."""
        self._firing: dict[frozenset[tuple[str, str]], Told] = {}
        self._changed = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Take alerts: again and again while they fire, and once more when they are over."""
        for each in await request.json():
            key = frozenset(each["labels"].items())
            if datetime.fromisoformat(each["endsAt"]) > datetime.now(UTC):
                self._firing[key] = Told(each["labels"], each["annotations"])
            else:
                self._firing.pop(key, None)
        self._changed.set()
        return web.Response()

    async def until(self, check: Callable[[list[Told]], Any], what: str, within_s: float) -> None:
        """Wait until what fires satisfies `check`; fails, saying what was waited for, when it does not."""
        try:
            async with asyncio.timeout(within_s):
                while not check(list(self._firing.values())):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"waited {within_s:g} s in vain for: {what}. What fires: {list(self._firing.values())}")


@asynccontextmanager
async def paged() -> AsyncIterator[Pager]:
    """Run one."""
    pager = Pager()
    app = web.Application()
    app.router.add_post("/api/v2/alerts", pager.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pager.address = f"127.0.0.1:{runner.addresses[0][1]}"
        yield pager
    finally:
        await runner.cleanup()
