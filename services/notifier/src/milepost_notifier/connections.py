"""One client's WebSocket: a session, and a transport that is written to without ever waiting."""

import asyncio
import logging
import re
from http import HTTPStatus
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import MultipleValuesError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event, State

from milepost.runtime.auth import Principal
from milepost_notifier.admission import Admission, Visit
from milepost_notifier.budget import Budget
from milepost_notifier.limits import Limits
from milepost_notifier.session import Session
from milepost_notifier.tally import TALLY
from milepost_schemas.frames import SUBPROTOCOL

PATH: Final = "/v1/stream"
CLOSE_S: Final = 5.0
"""A client has so long to answer a close."""
BAD_TICKET: Final = "This ticket is not valid: it lets in once, and for 30 seconds. Ask for another one."
_CHUNK: Final = 32 * 1024
_SIP: Final = 4 * 1024
"""So many bytes are looked at before it is asked whether there were too many frames: of a flood the rest is not."""
_TICKET: Final = re.compile(r"ticket=([A-Za-z0-9_-]{1,64})")
_NO_QUERY: Final = "Nothing but a ticket goes into the URL: it ends up in logs. Send the token in hello.\n"


class Connection(ServerConnection):
    """What `websockets` makes for each client.

    The session's outbox is written while the transport takes it. When its buffer is full the library calls
    `pause_writing`; the rest waits in the outbox, where it can be coalesced, until `resume_writing`.
    """

    transport_name: Final = "websocket"
    session: Session | None = None
    flooded = False
    """The client sent more than it may; nothing it sends is looked at any more."""
    closing: asyncio.Future[None] | None = None
    principal: Principal | None = None
    """Who came with a ticket, which needs no hello."""

    def __init__(self, *arguments: Any, admission: Admission, limits: Limits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.visit = Visit(admission)
        self._limits = limits
        self._budget = Budget(limits.frames, limits.burst, self.loop.time())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the client from its first byte."""
        super().connection_made(transport)
        self.visit.waits(self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        self.visit.over()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, until there were too many frames in them."""
        for start in range(0, len(data), _SIP):
            if self.flooded:
                return
            super().data_received(data[start : start + _SIP])

    def process_event(self, event: Event) -> None:
        """Take a frame, if it is not one too many: control frames, and parts of a message that is never whole, too."""
        if isinstance(event, Frame) and (detail := self._too_many(event)) is not None:
            self._cut_off(detail)
        else:
            super().process_event(event)

    def _too_many(self, frame: Frame) -> str | None:
        """Return of what there are too many with this frame; None if it is all right."""
        if self.flooded:
            return None
        if not self._budget.take(self.loop.time()):
            return f"more than {self._limits.frames:g} frames a second"
        # Pongs are written at once, also for a client that reads none of them.
        if frame.opcode is Opcode.PING and self.transport.get_write_buffer_size() > self._limits.soft:
            return "pings whose pongs are not read"
        return None

    def _cut_off(self, detail: str) -> None:
        self.flooded = True
        self.visit.sent_too_much(self.loop.time())
        if self.session is None:
            self.transport.abort()
        else:
            self.session.over_limit(detail)
            self.write_out()

    def resume_writing(self) -> None:
        """Go on with what waits."""
        super().resume_writing()
        self.write_out()

    def write_out(self) -> None:
        """Write as much of the outbox as the transport takes now, then close if the session says so."""
        session = self.session
        if session is None or self.state is not State.OPEN or self.transport.is_closing():
            return
        while not self.paused and (frames := session.outbox.take(_CHUNK)):
            # What the library's send_text would make of them, without its state machine for each: this side sends
            # whole text frames only, no extension is negotiated, and `state` was asked.
            text = _framed(frames[0]) if len(frames) == 1 else b"".join(map(_framed, frames))
            TALLY.bytes += len(text)
            self.transport.write(text)
        session.stalled = self.paused
        if session.closing is not None and self.closing is None:
            self.closing = asyncio.get_running_loop().create_task(self._say_goodbye(*session.closing))

    async def _say_goodbye(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.close(code, reason)
        except TimeoutError:
            self.transport.abort()


def quiet() -> logging.Logger:
    """Return the library's logger without what anybody who knocks at the port can make it say, with a traceback."""
    logger = logging.getLogger("milepost.notifier.websockets")
    if not logger.filters:
        logger.addFilter(lambda record: record.msg != "opening handshake failed")
    return logger


class _Framer:
    """Makes unmasked text frames (RFC 6455, 5.2). All who watch a task are sent the same one, in a row."""

    def __init__(self) -> None:
        self._text = self._made = b""

    def __call__(self, text: bytes) -> bytes:
        """Return the frame of a text."""
        if text is not self._text:
            size = len(text)
            if size < 126:
                head = bytes((0x81, size))
            elif size < 65536:
                head = b"\x81\x7e" + size.to_bytes(2, "big")
            else:
                head = b"\x81\x7f" + size.to_bytes(8, "big")
            self._text, self._made = text, head + text
        return self._made


_framed: Final = _Framer()


def refusal(connection: ServerConnection, request: Request, allowed_origins: frozenset[str]) -> Response | None:
    """Return the answer to a request that is not upgraded; None for one that may be."""
    path, _, query = request.path.partition("?")
    if path != PATH:
        return connection.respond(
            HTTPStatus.NOT_FOUND, f"This is the notifier. Its stream is at {PATH}; the API is at another address.\n"
        )
    if query and _TICKET.fullmatch(query) is None:
        return connection.respond(HTTPStatus.BAD_REQUEST, _NO_QUERY)
    try:
        origin = request.headers.get("Origin")
        offered = request.headers.get_all("Sec-WebSocket-Protocol")
    except MultipleValuesError:
        return connection.respond(HTTPStatus.FORBIDDEN, "One Origin, please.\n")
    # Programs send no Origin; every page does, and a page that is not on the list gets nothing.
    if origin is not None and origin not in allowed_origins:
        return connection.respond(HTTPStatus.FORBIDDEN, "Pages of this origin may not open a stream.\n")
    if SUBPROTOCOL not in {word.strip() for line in offered for word in line.split(",")}:
        return connection.respond(HTTPStatus.BAD_REQUEST, f"Ask for the subprotocol {SUBPROTOCOL}.\n")
    return None


def ticket_in(request: Request) -> str | None:
    """Return the ticket in the URL of a request that was not refused; None without one."""
    found = _TICKET.fullmatch(request.path.partition("?")[2])
    return None if found is None else found[1]


def bad_ticket(connection: ServerConnection) -> Response:
    """Return the answer to a ticket that lets nobody in."""
    return connection.respond(HTTPStatus.UNAUTHORIZED, BAD_TICKET + "\n")


def too_many(connection: ServerConnection, detail: str) -> Response:
    """Return the answer to a client whose address has too many connections."""
    response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, f"{detail}\n")
    response.headers["Retry-After"] = "5"
    return response


def over_limit(connection: ServerConnection, seconds: int) -> Response:
    """Return the answer to one client too many."""
    response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "This notifier is full or about to stop.\n")
    response.headers["Retry-After"] = str(seconds)
    return response
