"""One client that reads server-sent events: a session as a WebSocket has one, written to an HTTP response."""

import asyncio
import random
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import orjson
from aiohttp import HttpVersion11, hdrs, web

from milepost_notifier import sse
from milepost_notifier.admission import Visit
from milepost_notifier.following import FORBIDDEN
from milepost_notifier.outbox import Entry
from milepost_notifier.refusals import Refusal, too_many, unavailable
from milepost_notifier.session import NOT_FOUND, Session
from milepost_notifier.tally import TALLY
from milepost_schemas.frames import CloseCode
from milepost_schemas.position import Position
from milepost_schemas.problem import ProblemType

SUB: Final = 0
"""Number of the only subscription."""
HEARTBEAT_S: Final = 15.0
FIRST_S: Final = 15.0
"""A client is not kept waiting for a first word longer than this: Redis is away, and nobody else can tell a feed."""
GOODBYE_S: Final = 5.0
"""A client has so long to take the rest."""
SILENT_S: Final = 60.0
"""A client that takes nothing for so long is gone: there is no pong to wait for."""
FIRST_RETRY_MS: Final = (500, 2500)
"""Who loses its notifier comes back after a wait between these, so that not all come at once."""
HEADERS: Final = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
_CHUNK: Final = 32 * 1024
_REFUSED: Final = {
    CloseCode.TOKEN_EXPIRED.code: ProblemType.UNAUTHENTICATED,
    CloseCode.FORBIDDEN.code: ProblemType.FORBIDDEN,
    CloseCode.PROTOCOL_VIOLATION.code: ProblemType.BAD_REQUEST,
}


class Stream:
    """A session, and a transport that is written to without ever waiting.

    The outbox is written while the transport takes it. When its buffer is full the rest waits in the outbox, where it
    can be coalesced, until `run` finds room again. So frames wake no task; only what is over or stuck does.
    """

    transport_name: Final = "sse"

    def __init__(
        self, request: web.Request, session: Session, visit: Visit, task: UUID | None, since: Position | None
    ) -> None:
        """`task` is what the only subscription is to (None: a feed), `since` where the client has got.

        Raises ConnectionResetError when the client is gone.
        """
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        self.session: Session | None = session
        self.visit = visit
        self.closing: asyncio.Future[None] | None = None
        self._request = request
        self._transport = request.transport
        self._protocol = request.protocol
        self._chunked = request.version >= HttpVersion11
        self._task = task
        self._since = since
        self._open = False
        self._woken = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None

    def write_out(self) -> None:
        """Write as much of the outbox as the transport takes now; wake `run` when there is something to decide."""
        session = self.session
        if session is None or self._transport.is_closing():
            return
        if self._open:
            while not self._protocol.writing_paused and (entries := session.outbox.take_entries(_CHUNK)):
                self._write(self._text(session, entries))
            session.stalled = self._protocol.writing_paused
        if session.closing is not None and self.closing is None:
            self._close(session.closing[0])
        if self.closing is not None or session.stalled or not self._waits(session):
            self._woken.set()

    async def run(self) -> web.StreamResponse:
        """Answer the request, and write until everything is said. Raises Refusal if there is nothing to be said."""
        session = self.session
        assert session is not None  # noqa: S101 - `over` takes it away
        first = await self._first(session)
        if self._since is not None and sse.only_end(first, self._since):
            return web.Response(status=204)  # which keeps an EventSource from asking for ever
        response = web.StreamResponse(headers=HEADERS)
        response.force_close()
        writer = await response.prepare(self._request)
        assert writer is not None  # noqa: S101 - it was not prepared before
        self._open = True
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            line: Any = self._transport.get_extra_info("socket")
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENT_S * 1000))
        self._write(sse.retry(random.randint(*FIRST_RETRY_MS)) + b"\n" + self._text(session, first))  # noqa: S311
        try:
            await self._write_all(session, writer.drain)
            if session.closing is not None and session.closing[0] != CloseCode.DRAINING.code:  # that was a bye
                self._write(sse.closed(*session.closing))
            async with asyncio.timeout(GOODBYE_S):
                await response.write_eof()
        except TimeoutError:
            self._transport.abort()
        return response

    def over(self) -> None:
        """Take note that the request is answered."""
        if self._patience is not None:
            self._patience.cancel()
        if self.closing is not None and not self.closing.done():
            self.closing.set_result(None)

    async def _first(self, session: Session) -> list[Entry]:
        """Return what is to be said, if that is all there ever will be. Raises Refusal if it is a refusal."""
        try:
            async with asyncio.timeout(FIRST_S):
                while session.closing is None and session.waits(SUB):
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            raise unavailable("This cannot be told just now. Come again in a moment.") from None
        if session.closing is not None and session.closing[0] != CloseCode.DRAINING.code:
            code, reason = session.closing
            detail = f"There is no stream for this: {reason}."
            if code == CloseCode.OVER_LIMIT.code:
                raise too_many(detail)
            raise Refusal(_REFUSED.get(code, ProblemType.INTERNAL), detail)
        if session.has(SUB):
            return []
        entries = session.outbox.take_entries(sys.maxsize)
        if not any(entry.frame.startswith(b'{"t":"end"') for entry in entries):
            for entry in entries:
                if entry.frame.startswith(b'{"t":"err"'):
                    raise _refusal(orjson.loads(entry.frame))
        return entries

    async def _write_all(self, session: Session, drain: Callable[[], Awaitable[None]]) -> None:
        """Write until nothing more will come. Raises TimeoutError when the client takes nothing for too long."""
        while True:
            self._woken.clear()
            self.write_out()
            if self._protocol.writing_paused:
                async with asyncio.timeout(SILENT_S):
                    await drain()
            elif session.closing is not None or not session.has(SUB):
                return
            else:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._woken.wait()
                except TimeoutError:
                    self._write(sse.HEARTBEAT)

    def _waits(self, session: Session) -> bool:
        return session.has(SUB) if self._open else session.waits(SUB)

    def _close(self, code: int) -> None:
        loop = asyncio.get_running_loop()
        self.closing = loop.create_future()
        if code == CloseCode.TOO_SLOW.code:
            self._transport.abort()  # it takes nothing, a goodbye least of all
        else:
            self._patience = loop.call_later(GOODBYE_S, self._transport.abort)

    def _text(self, session: Session, entries: list[Entry]) -> bytes:
        over = not session.has(SUB)
        return b"".join([sse.text_of(entry, self._task, over=over) for entry in entries])

    def _write(self, text: bytes) -> None:
        if text and not self._transport.is_closing():
            TALLY.bytes += len(text)
            self._transport.write(b"%x\r\n%b\r\n" % (len(text), text) if self._chunked else text)


def _refusal(frame: dict[str, str]) -> Refusal:
    if frame["code"] == NOT_FOUND[0]:
        return Refusal(ProblemType.NOT_FOUND, frame["message"])
    if frame["code"] == FORBIDDEN[0]:
        return Refusal(ProblemType.FORBIDDEN, frame["message"])
    return unavailable(frame["message"])
