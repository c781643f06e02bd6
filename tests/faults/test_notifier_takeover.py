"""How long watchers wait when a notifier dies that was reading events for all of them."""

import asyncio
import time

import aiohttp
import pytest

from milepost.client import Client
from tests.conftest import MakeSettings, eventually
from tests.scene import audited as running
from tests.system import System

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(240)]

TASKS = 12
"""Enough that events of some are on partitions of the one that dies."""
NOTICED_S = 7.0
"""From when there is somebody to notice it. Kafka would by itself 10 s after the death, and then nobody says so."""


class Progress:
    """Watches tasks that count for ever, and how far each is shown."""

    def __init__(self) -> None:
        self.shown: dict[int, float] = {}
        self.longest_s = 0.0

    async def watch(self, client: Client, number: int) -> None:
        run = await client.submit("demo.count", {"to": 100_000, "delay": 0.1})
        seen_at = None
        async for event in run.watch():
            done = event.task.progress.done if event.task.progress else 0
            if done <= self.shown.get(number, -1):
                continue
            now = time.monotonic()
            if seen_at is not None:
                self.longest_s = max(self.longest_s, now - seen_at)
            self.shown[number], seen_at = done, now

    async def moves(self, what: str) -> None:
        """Wait until every task is seen to get on."""
        before = dict(self.shown)

        async def check() -> bool:
            return len(self.shown) == TASKS and all(done > before.get(n, -1) for n, done in self.shown.items())

        await eventually(check, what, 30)


async def _all_read(system: System) -> None:
    """Wait until every notifier is in the group: before that it has no partitions to be waited for."""

    async def check() -> bool:
        async with aiohttp.ClientSession() as session:
            for url in system.notifier_urls:
                async with session.get(f"{url}/readyz") as response:
                    if not (await response.json())["dependencies"]["kafka"]["ok"]:
                        return False
        return True

    await eventually(check, "all notifiers to read", 40)


async def _die(system: System, victim: int, *, restart: bool) -> None:
    """Kill a notifier; return once there is another that serves."""
    system.notifiers[victim].kill()
    if restart:
        await system.notifiers[victim].start()
        await system.ready(system.notifier_urls[victim])


@pytest.mark.long
@pytest.mark.parametrize("notifiers", [1, 2])
async def test_watches_go_on_soon_after_a_notifier_was_killed(fresh: MakeSettings, notifiers: int) -> None:
    settings = await fresh()
    async with running(settings, notifiers=notifiers) as system, system.client(stream=notifiers - 1) as client:
        progress = Progress()
        watches = [asyncio.create_task(progress.watch(client, number)) for number in range(TASKS)]
        try:
            await progress.moves("progress of every task")
            await _all_read(system)
            progress.longest_s = 0.0
            # The only one, which is started again; or the one that nobody is connected to.
            await _die(system, 0, restart=notifiers == 1)
            died_at = time.monotonic()
            await progress.moves("progress after the death")
            await progress.moves("more of it after the death")
            took = time.monotonic() - died_at
            print(f"{notifiers} notifier(s): longest pause {progress.longest_s:.1f} s")  # noqa: T201
            words = "took a dead notifier out of the group"
            assert any(words in line for line in system.notifiers[-1].log_tail())
            assert took < NOTICED_S
        finally:
            for watch in watches:
                watch.cancel()
