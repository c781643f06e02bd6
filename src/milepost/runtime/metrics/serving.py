"""Where metrics are read: a route of an aiohttp application, and a port for it alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import hdrs, web

from milepost.runtime.health import bound, serving
from milepost.runtime.lifecycle import background
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import LOOP_LAG
from milepost.runtime.metrics.exposition import Exposition
from milepost.runtime.metrics.push import pushing
from milepost.runtime.settings import Settings

log = get_logger("milepost.metrics")

PATH: Final = "/metrics"
LOOK_S: Final = 0.25
_SHARED: Final = (
    "Several processes answer on this port, and nobody can choose which. Set MILEPOST_METRICS_PORT: each gets a port"
    " of its own, the first this one.\n"
)


def add_route(app: web.Application, exposition: Exposition) -> None:
    """Add `/metrics` to an application."""

    async def metrics(request: web.Request) -> web.Response:
        text, kind = await exposition.page(request.headers.get(hdrs.ACCEPT))
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: kind})

    app.add_routes([web.get(PATH, metrics)])


def add_refusal(app: web.Application) -> None:
    """Say at `/metrics` of a port that processes share where they are instead."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=404, text=_SHARED)

    app.add_routes([web.get(PATH, refuse)])


@asynccontextmanager
async def measuring(exposition: Exposition, settings: Settings) -> AsyncIterator[None]:
    """Inside the block: watch the loop, push by OTLP where the OTEL_* variables say so, serve MILEPOST_METRICS_PORT.

    Raises SettingsError when that port is taken.
    """
    async with AsyncExitStack() as stack:
        if settings.metrics_port is not None:
            app = web.Application(client_max_size=1024)
            add_route(app, exposition)
            listener = serving(app, settings.host, settings.metrics_port)
            port = await bound(stack, listener, "MILEPOST_METRICS_PORT", settings.metrics_port)
            log.info("metrics can be read", port=port)
        await stack.enter_async_context(background(("loop lag", _watch_loop)))
        await stack.enter_async_context(pushing(exposition))
        yield


async def _watch_loop() -> None:
    """Observe how late the loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_S
        await asyncio.sleep(LOOK_S)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
