"""One HTTP/1.1 connection: uvicorn's, with bounds on what it may hold up before it asks and while it is answered."""

import asyncio
import logging
from asyncio.events import TimerHandle
from collections.abc import Callable
from typing import Any, Final, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from milepost_api.together import Together
from milepost_schemas.problem import MEDIA_TYPE, ProblemType

HEADERS_S: Final = 10.0
"""A connection has so long to say what it wants, from its first byte to the end of the headers."""
HEADER_BYTES: Final = 64 * 1024
HEADER_COUNT: Final = 100
PIPELINED: Final = 16
"""Requests a client may send ahead of the answers."""
MOST_WAITING: Final = 2_000
"""Connections that ask for nothing just now; beyond that the one that has waited longest is closed."""
_SAID_BY_STRANGERS: Final = ("Invalid HTTP request", "Unsupported upgrade request", "No supported WebSocket library")


class Lobby:
    """The connections of a server that ask for nothing just now, the one that has waited longest first.

    A client that means it has asked within a round trip or two, and one whose idle connection was closed opens another.
    """

    def __init__(self) -> None:
        self._waiting: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: "Connection") -> None:
        """Take one in; if it is one too many, another has to go."""
        self._waiting[connection] = None
        if len(self._waiting) > MOST_WAITING:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.give_up()

    def leave(self, connection: "Connection") -> None:
        """Take one out: it asks for something, or is closed."""
        self._waiting.pop(connection, None)


class Connection(HttpToolsProtocol):
    """HTTP/1.1 that waits for nobody without end: not for headers, nor for a body nobody reads, nor for a reader."""

    _patience: TimerHandle | None = None
    _size = 0
    _line: Together

    def __init__(self, lobby: Lobby, **options: Any) -> None:
        super().__init__(**options)
        self._lobby = lobby

    def connection_made(self, transport: Any) -> None:
        """Begin the wait for the first request."""
        self._line = Together(transport, self.loop)
        super().connection_made(cast("Any", self._line))
        self._wait()
        self._lobby.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._lobby.leave(self)
        self._stop_waiting()
        self._line.forget()
        super()._unset_keepalive_if_required()
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
        if len(self.pipeline) >= PIPELINED:
            # A read is parsed whole, and each request in it would be kept. No answer: one is under way for another.
            self.transport.abort()
            raise ValueError("too many requests ahead of their answers")
        self._stop_waiting()
        super()._unset_keepalive_if_required()
        self._lobby.leave(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request; the rest of this one may still be coming, and nobody reads it."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._lobby.enter(self)

    def _unset_keepalive_if_required(self) -> None:
        """Stay in the wait for the next request: uvicorn would leave it for any byte, and never come back to it.

        A line break now and then, or a body that nobody asked for, is no request.
        """

    def timeout_keep_alive_handler(self) -> None:
        """Close: nobody asks for anything."""
        self.give_up()

    def give_up(self) -> None:
        """Close a connection that has been waited for long enough."""
        if not self.transport.is_closing() or self.transport.get_write_buffer_size():
            self._line.end()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn says which words it would have used
        """Answer what is not HTTP, as everything else is refused."""
        if self.transport.is_closing():
            return
        row = ProblemType.BAD_REQUEST.value
        detail = "This is not HTTP/1.1, or its headers are too large. Nothing was done; the connection is closed."
        members = {"type": ProblemType.BAD_REQUEST.uri, "title": row.title, "status": row.status, "detail": detail}
        body = orjson.dumps(members)
        lines = [b"HTTP/1.1 400 Bad Request\r\n"]
        lines += [b"%b: %b\r\n" % pair for pair in self.server_state.default_headers]
        lines.append(b"content-type: %b\r\ncontent-length: %d\r\n" % (MEDIA_TYPE.encode(), len(body)))
        lines.append(b"cache-control: no-store\r\nconnection: close\r\n\r\n")
        self.transport.write(b"".join(lines) + body)
        self.transport.close()

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > HEADER_BYTES or len(self.headers) > HEADER_COUNT:
            # httptools answers what a callback raises with a parser error, and uvicorn that with 400.
            raise ValueError("the headers are too large")

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEADERS_S, self._run_out)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _run_out(self) -> None:
        self._patience = None
        self.give_up()


def connections() -> Callable[..., asyncio.Protocol]:
    """Return what makes the connections of one server."""
    lobby = Lobby()
    return lambda **options: Connection(lobby, **options)


def quiet() -> None:
    """Leave out of the log what anybody who knocks at the port can make uvicorn say."""
    logger = logging.getLogger("uvicorn.error")
    if not logger.filters:
        logger.addFilter(lambda record: not str(record.msg).startswith(_SAID_BY_STRANGERS))
