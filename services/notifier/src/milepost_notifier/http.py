"""The small HTTP side: is this process alive, and can it serve."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

Check = Callable[[], Awaitable[tuple[bool, str]]]
"""Returns whether the dependency answers, and a word on it. Bounded in time, raises nothing."""


class Health:
    """What `/readyz` says. `needed` dependencies decide; `useful` ones are only reported."""

    def __init__(self, needed: Mapping[str, Check], useful: Mapping[str, Check]) -> None:
        self._needed = dict(needed)
        self._useful = dict(useful)
        self.draining = False

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether this process can serve, and why (not)."""
        dependencies = {}
        ready = not self.draining
        for name, check in {**self._needed, **self._useful}.items():
            well, word = await check()
            dependencies[name] = {"ok": well, "detail": word}
            if not well and name in self._needed:
                ready = False
        status = "draining" if self.draining else "ready" if ready else "not ready"
        return ready, {"status": status, "dependencies": dependencies}


def application(health: Health) -> web.Application:
    """Return the application with `/livez` (no I/O) and `/readyz`."""

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        ready, report = await health.report()
        return web.Response(status=200 if ready else 503, body=orjson.dumps(report), content_type="application/json")

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve inside the block; give the port bound."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address: Any = runner.addresses[0]
        yield address[1]
    finally:
        await runner.cleanup()
