"""uvicorn, as a part of this process: our signals, our logs, limits on what a connection may do before it asks."""

import asyncio
import contextlib
import socket
from asyncio.events import TimerHandle
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from milepost.errors import SettingsError
from milepost.runtime.lifecycle import Shutdown
from milepost.runtime.settings import Settings

HEADERS_S: Final = 10.0
"""A connection has so long to say what it wants, from its first byte to the end of the headers."""
HEADER_BYTES: Final = 64 * 1024
HEADER_COUNT: Final = 100
_KEEP_ALIVE_S: Final = 75
_GRACE_S: Final = 10


class _Together:
    """A transport that sends what is written in one turn of the loop by one call to the kernel.

    uvicorn writes head and body of a response separately: two system calls, two packets, and a client woken twice.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send it with whatever follows at once."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            if not self._transport.is_closing():
                self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 that does not wait for ever for headers, nor keeps them without end."""

    _patience: TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: Any) -> None:
        """Begin the wait for the first request."""
        super().connection_made(cast("Any", _Together(transport, self.loop)))
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin the wait for the rest of the headers."""
        super().on_message_begin()
        self._size = 0
        if self._patience is None:
            self._wait()

    def on_url(self, url: bytes) -> None:
        """Count."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Go on: from here the application's own limits hold."""
        self._stop_waiting()
        super().on_headers_complete()

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > HEADER_BYTES or len(self.headers) > HEADER_COUNT:
            # httptools answers what a callback raises with a parser error, and uvicorn that with 400.
            raise ValueError("the headers are too large")

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEADERS_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self.transport.close()


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
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
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
