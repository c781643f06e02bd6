"""A receiver of webhooks: a real HTTP server, with a real certificate if it is given one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from multidict import CIMultiDictProxy

from tests.conftest import eventually


class Received(NamedTuple):
    """One request."""

    path: str
    headers: CIMultiDictProxy[str]
    body: bytes


Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _ok(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204)


class Receiver:
    """What it got, and how it answers: by `answer`, which a test may replace at any time."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answers = _ok
        self.under_way = 0
        self.most_at_once = 0
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note a request and answer it."""
        self.received.append(Received(request.path, request.headers, await request.read()))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            return await self.answer(request)
        finally:
            self.under_way -= 1

    async def got(self, count: int, within_s: float = 30.0) -> None:
        """Wait until it has got so many requests."""

        async def check() -> bool:
            return len(self.received) >= count

        await eventually(check, f"{count} requests", within_s)


def saying(status: int, text: str = "", **headers: str) -> Answers:
    """Return what answers so."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def never(_request: web.Request) -> web.StreamResponse:
    """Not answer."""
    await asyncio.Event().wait()
    raise AssertionError


def when(event: asyncio.Event, status: int = 204) -> Answers:
    """Return what answers so once the event is set, and not before."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await event.wait()
        return web.Response(status=status)

    return answer


@asynccontextmanager
async def receiving(host: str, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    """Run one."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        await runner.cleanup()
