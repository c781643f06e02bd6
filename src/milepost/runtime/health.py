"""The small HTTP side: is this process alive, and can it serve."""

import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from milepost.errors import SettingsError
from milepost.runtime.standing import Dependency, Standing, Standings

IDLE_S: Final = 30.0
"""A connection that has asked for nothing, or not to the end, is closed after this."""
LINGER_S: Final = 5.0
"""After an answer the rest of its request has so long to come."""
STUCK_S: Final = 60.0
"""A client that takes nothing of what is sent to it for so long is given up."""
BACKLOG: Final = 4096
"""Connections the kernel holds until they are accepted: all clients of a notifier that died come at once."""

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Health:
    """What `/readyz` says. `needed` dependencies decide; `useful` ones are only reported."""

    def __init__(self, needed: Mapping[str, Dependency], useful: Mapping[str, Dependency]) -> None:
        self._needed = frozenset(needed)
        self._standings = Standings({**needed, **useful})
        self.draining = False

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether this process can serve, and why (not)."""
        standings = await self._standings.look()
        ready = not self.draining and all(standings[name].ok for name in self._needed)
        status = "draining" if self.draining else "ready" if ready else "not ready"
        return ready, {"status": status, "dependencies": {name: s.shown() for name, s in standings.items()}}

    @property
    def known(self) -> dict[str, Standing]:
        """How the dependencies were when last looked at."""
        return self._standings.known

    async def run(self) -> None:
        """Keep looking, so that a report can say since when."""
        await self._standings.run()


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


def _quiet() -> logging.Logger:
    """Return the library's logger without what anybody who knocks at the port can make it say, with a traceback."""
    logger = logging.getLogger("milepost.http")
    if not logger.filters:
        logger.addFilter(lambda record: not isinstance((record.exc_info or (None,) * 3)[1], HttpProcessingError))
    return logger


async def _seal(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Say of no answer what wrote it, and of each that it is what it says; wait for no reader without end."""
    response.headers.pop(hdrs.SERVER, None)
    response.headers.update(_HEADERS)
    if hasattr(socket, "TCP_USER_TIMEOUT") and request.transport is not None:
        line: Any = request.transport.get_extra_info("socket")
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK_S * 1000))


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, *, shared: bool = False) -> AsyncIterator[int]:
    """Serve inside the block; give the port bound.

    `shared`: other processes listen on the same port, and the system deals connections out.

    Handlers end when their clients are gone, and so do connections that take too long: to say what they want, to send
    what nobody reads, to take what they asked for.
    """
    app.on_response_prepare.append(_seal)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=1.0,
        handler_cancellation=True,
        keepalive_timeout=IDLE_S,
        lingering_time=LINGER_S,
        logger=_quiet(),
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=shared or None).start()
        address: Any = runner.addresses[0]
        yield address[1]
    finally:
        await runner.cleanup()


async def bound(stack: AsyncExitStack, listener: AbstractAsyncContextManager[int], setting: str, port: int) -> int:
    """Enter a listener and return its port. Raises SettingsError, which names the setting, when the port is taken."""
    try:
        return await stack.enter_async_context(listener)
    except OSError as error:
        raise _taken(port, setting, error) from error


def free_to_share(host: str, port: int, setting: str) -> None:
    """Raise SettingsError unless several processes of ours can listen on the port and nobody does now."""
    if port == 0:
        raise SettingsError(f"Several processes share a port, so {setting} must say which; 0 is none.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError as error:
            raise _taken(port, setting, error) from error


def _taken(port: int, setting: str, error: OSError) -> SettingsError:
    return SettingsError(f"Port {port} cannot be opened ({error.strerror}). Set {setting} to a free one.")
