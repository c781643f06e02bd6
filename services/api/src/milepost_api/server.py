"""uvicorn, as a part of this process: our signals, our logs, our connections, headers of every answer."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final, cast

import uvicorn
from fastapi import FastAPI

from milepost.errors import SettingsError
from milepost.runtime.lifecycle import Shutdown
from milepost.runtime.settings import Settings
from milepost_api.connection import connections, quiet

_KEEP_ALIVE_S: Final = 75
_GRACE_S: Final = 10
_HEADERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""Of every answer, refusals of the server itself included. Who may be a page's source is up to each answer."""


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers; says when it is ready and when it begins to stop."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to milepost.runtime.lifecycle, which makes a stop that was asked for exit status 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those who wait go, then stop."""
        self._on_stop()
        await super().shutdown(sockets)


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say. Raises SettingsError, with what to do."""
    host, port = settings.host, settings.api_port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"The api cannot listen on {host}:{port}: {error.strerror or error}. Nothing was started. Stop what uses "
            "the port, or set MILEPOST_API_PORT (0 takes a free one) or MILEPOST_HOST."
        ) from error


def make_server(app: FastAPI, on_ready: Callable[[], None]) -> Server:
    """Return a server for the application, to be run with a socket from `listen`."""
    quiet()
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", connections()),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        headers=list(_HEADERS),
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return Server(config, on_ready, lambda: app.state.services.waits.end())  # noqa: PLW0108 - services come later


async def serve(server: Server, listener: socket.socket, shutdown: Shutdown) -> None:
    """Serve until asked to stop; a second request drops what is still running."""

    async def obey() -> None:
        await shutdown.requested.wait()
        server.should_exit = True
        await shutdown.hurry.wait()
        server.force_exit = True

    obeying = asyncio.create_task(obey())
    try:
        await server.serve(sockets=[listener])
    finally:
        obeying.cancel()
