"""Real pages in a real browser, with a proxy before the notifier's two ports that tests can break."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import pytest

from milepost.client import Client, Run
from milepost.embedded.processes import ManagedProcess
from milepost_schemas.position import Position
from tests.chromium import COMMAND, Browser, Page, chromium
from tests.conftest import MakeSettings
from tests.proxy import Proxy, proxy_to
from tests.system import ROOT, System, running

PAGES: Final = (Path(__file__).parent / "pages", ROOT / "examples" / "browser", ROOT / "clients" / "browser" / "dist")

MOST_SUBS: Final = 4
"""So many watches go over one connection."""


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium for all tests; each takes a tab of its own."""
    if COMMAND is None:
        assert "CI" not in os.environ, "There is no Chromium. On Debian: apt install chromium"
        pytest.skip("there is no Chromium here; on Debian: apt install chromium")
    async with chromium() as started:
        yield started


@pytest.fixture
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A tab."""
    async with browser.page() as opened:
        yield opened


@dataclass(slots=True)
class Ways:
    """How pages reach a notifier: a proxy before its WebSocket, and one before its server-sent events."""

    system: System
    stream: Proxy
    events: Proxy
    current: int = 0
    """The notifier that new connections are led to."""

    @property
    def notifier(self) -> ManagedProcess:
        """That one."""
        return self.system.notifiers[self.current]

    async def lead_to(self, number: int) -> None:
        """From the next connection on, lead to that notifier, once it is ready."""
        await self.system.ready(self.system.notifier_urls[number])
        self.stream.target = ("127.0.0.1", _port(self.system.streams[number]))
        self.events.target = ("127.0.0.1", _port(self.system.notifier_urls[number]))
        self.current = number

    async def lead_elsewhere(self) -> ManagedProcess:
        """From the next connection on, lead to the other notifier; return the one that was led to."""
        before = self.notifier
        await self.lead_to(1 - self.current)
        return before


@pytest.fixture(scope="session")
async def shared_ways(fresh: MakeSettings) -> AsyncIterator[Ways]:
    """An api, a worker and two notifiers; the api shows the pages."""
    async with proxy_to(0) as stream, proxy_to(0) as events:
        env = {
            "MILEPOST_STREAM_URL": f"ws://127.0.0.1:{stream.port}/v1/stream",
            "MILEPOST_EVENTS_URL": f"http://127.0.0.1:{events.port}",
            "MILEPOST_PAGES": ",".join(map(str, PAGES)),
            "MILEPOST_MAX_SUBSCRIPTIONS": str(MOST_SUBS),
        }
        async with running(await fresh(), notifiers=2, env=env) as system:
            yield Ways(system, stream, events)


@pytest.fixture
async def ways(shared_ways: Ways) -> AsyncIterator[Ways]:
    """The same, whole again: everything flows, and a notifier that a test ended is on its way back."""
    await shared_ways.lead_to(shared_ways.current)
    yield shared_ways
    for proxy in (shared_ways.stream, shared_ways.events):
        await proxy.listen()
        proxy.flow()
    for notifier in shared_ways.system.notifiers:
        if not notifier.running:
            await notifier.start()


@dataclass(slots=True)
class Shown:
    """What a page shows of a task, and what it was told."""

    tab: Page
    run: Run
    vias: list[str | None] = field(default_factory=list)
    """The ways news came, one after the other; None: none. Known at the end."""

    async def gets(self, done: int, within_s: float = 30.0) -> None:
        """Wait until it shows so much progress."""
        await self.tab.shows(f"one.task?.progress?.done >= {done}", within_s)

    async def goes(self, via: str, within_s: float = 30.0) -> None:
        """Wait until news comes this way."""
        await self.tab.shows(f"document.getElementById('via').textContent === '{via}'", within_s)

    async def counts(self, tasks: int, ended: int, within_s: float = 30.0) -> None:
        """Wait until its tree has so many tasks, so many of them ended."""
        await self.tab.shows(f"one.progress.tasks === {tasks} && one.progress.ended === {ended}", within_s)

    async def is_cancelled(self) -> list[dict[str, Any]]:
        """Cancel the task, for all has been seen, and go on as `ends`."""
        await self.run.cancel()
        return await self.ends("cancelled")

    async def ends(self, state: str = "succeeded", within_s: float = 45.0) -> list[dict[str, Any]]:
        """Wait until it shows the end, check everything it was told, and return that."""
        await self.tab.shows(f"document.getElementById('state').textContent === '{state}'", within_s)
        task = await self.tab.run("one.finished")
        assert task["id"] == str(self.run.id)
        assert task["state"] == state == str((await self.run.refresh()).state)
        assert await self.tab.run("document.getElementById('bar').value") == 1
        assert not await self.tab.run("document.getElementById('error').textContent")
        told: list[dict[str, Any]] = await self.tab.run("told")
        self.vias = await self.tab.run("vias")
        assert [event["last"] for event in told] == [False] * (len(told) - 1) + [True]
        positions: dict[str, Position] = {}
        for event in told:
            at = Position(*event["at"])
            # The API knows the epoch of a task and not its place in it: such views share the place of the one before.
            assert event["id"] not in positions or at >= positions[event["id"]], told
            positions[event["id"]] = at
        return told


Show = Callable[..., Awaitable[Shown]]


@pytest.fixture
async def client(ways: Ways) -> AsyncIterator[Client]:
    """A program beside the page."""
    async with ways.system.client() as opened:
        yield opened


@pytest.fixture
def show(ways: Ways, tab: Page, client: Client) -> Show:
    """Show a task in the tab, or one that is submitted for it; keyword arguments are those of the page's `watch`."""

    async def started(what: str | Run, payload: dict[str, Any] | None = None, **options: Any) -> Shown:
        run = what if isinstance(what, Run) else await client.submit(what, payload)
        token = options.pop("token", ways.system.key)
        await tab.open(f"{ways.system.url}/try/watch.html")
        arguments = orjson.dumps([str(run.id), token, options]).decode()
        await tab.run(f"watch(...{arguments})")
        return Shown(tab, run)

    return started


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
