"""A real browser for tests and pictures: Debian's Chromium, driven over its DevTools protocol.

A few commands of that protocol are all that is needed, and aiohttp is there; a driver package would bring a Node of its
own into everybody's environment.
"""

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.conftest import eventually

COMMAND: Final = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # as root, as CI runs
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "about:blank",
)
_START_S: Final = 60.0
_ANSWER_S: Final = 30.0


class PageError(Exception):
    """A script in the page failed."""


class Page:
    """One tab."""

    def __init__(self, browser: "Browser", session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self.target = target

    async def send(self, method: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol to this tab and return its result."""
        return await self._browser.send(method, parameters, self._session)

    async def open(self, url: str) -> None:
        """Load a page, and wait for its load event."""
        loaded = self._browser.once("Page.loadEventFired", self._session)
        await self.send("Page.navigate", url=url)
        async with asyncio.timeout(_ANSWER_S):
            await loaded

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page, awaited. Raises PageError."""
        done = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            details = done["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return done["result"].get("value")

    async def shows(self, condition: str, within_s: float = 30.0) -> None:
        """Wait until an expression is true in the page."""

        async def check() -> bool:
            return bool(await self.run(condition))

        await eventually(check, f"the page to show {condition}", within_s)

    async def hidden(self, *, hidden: bool) -> None:
        """Minimise the window, or put it back, and wait until the page knows."""
        window = await self._browser.send("Browser.getWindowForTarget", {"targetId": self.target})
        bounds = {"windowState": "minimized" if hidden else "normal"}
        await self._browser.send("Browser.setWindowBounds", {"windowId": window["windowId"], "bounds": bounds})
        await self.shows(f"document.hidden === {str(hidden).lower()}")

    async def offline(self, *, offline: bool) -> None:
        """Take the tab off the network, or put it back."""
        await self.send(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    async def picture(self) -> bytes:
        """Return what it shows as a PNG."""
        shot = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])


class Browser:
    """A running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: dict[tuple[str, str | None], list[asyncio.Future[Any]]] = {}

    async def read(self) -> None:
        """Take what it says, until it ends."""
        async for message in self._socket:
            said = message.json()
            if (answer := self._answers.pop(said.get("id", 0), None)) is not None:
                if not answer.done():
                    answer.set_result(said)
                continue
            for waiting in self._events.pop((said.get("method", ""), said.get("sessionId")), []):
                if not waiting.done():
                    waiting.set_result(said.get("params"))

    async def send(self, method: str, parameters: dict[str, Any], session: str | None = None) -> Any:
        """Send a command and return its result. Raises PageError."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message if session is None else message | {"sessionId": session})
        async with asyncio.timeout(_ANSWER_S):
            said = await answer
        if "error" in said:
            raise PageError(f"{method}: {said['error']['message']}")
        return said["result"]

    def once(self, method: str, session: str | None = None) -> asyncio.Future[Any]:
        """Return a future of the next event of that name."""
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._events.setdefault((method, session), []).append(waiting)
        return waiting

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Open a tab with cookies and storage of its own."""
        context = (await self.send("Target.createBrowserContext", {}))["browserContextId"]
        made = await self.send("Target.createTarget", {"url": "about:blank", "browserContextId": context})
        attached = await self.send("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})
        page = Page(self, attached["sessionId"], made["targetId"])
        try:
            for domain in ("Page", "Runtime", "Network"):
                await page.send(f"{domain}.enable")
            yield page
        finally:
            await self.send("Target.disposeBrowserContext", {"browserContextId": context})


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """Run a browser with nothing of anybody's in it."""
    assert COMMAND is not None
    folder = Path(tempfile.mkdtemp(prefix="milepost-chromium-"))
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        COMMAND, f"--user-data-dir={folder}", *flags, *_FLAGS, stdout=log, stderr=log
    )
    log.close()
    address = folder / "DevToolsActivePort"

    async def listens() -> bool:
        assert process.returncode is None, (folder / "log").read_text(errors="replace")
        return address.exists() and address.read_text().count("\n") > 0

    try:
        await eventually(listens, "Chromium to start", _START_S)
        port, path = address.read_text().split("\n")[:2]
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
        ):
            browser = Browser(socket)
            reading = asyncio.create_task(browser.read())
            try:
                yield browser
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)
