"""One WebSocket to the notifier: hello, subscriptions, silence, and coming back."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, Never

import aiohttp
import orjson

from milepost.client.credential import Credential
from milepost.client.fold import LOST
from milepost.client.reading import read_json
from milepost.client.waiting import Link, Protocol, Waiting
from milepost.errors import Forbidden, MilepostError, NotFound, Refused, TooManyRequests, Unauthenticated, Unreachable
from milepost.runtime.lifecycle import jittered
from milepost_schemas.frames import SUBPROTOCOL, CloseCode, reconnects

log = logging.getLogger("milepost.client")

OPEN_S: Final = 10.0
"""From connecting to welcome."""
SILENT_PINGS: Final = 2.0
"""So many of the server's ping intervals without a frame: the connection is dead."""
SILENT_S: Final = 16.0
"""Also after so long, for halfway there we ask ourselves, and the server answers at once."""
ANSWER_S: Final = 15.0
"""A subscription that is told nothing for so long subscribes again, and asks for a snapshot."""
RENEW_AGAIN_S: Final = 5.0
SETTLED_S: Final = 5.0
"""A connection that lasted so long was a good one: the next wait is short again."""
_CLOSINGS: Final[dict[int, type[Refused]]] = {
    CloseCode.TOKEN_EXPIRED.code: Unauthenticated,
    CloseCode.BAD_TOKEN.code: Unauthenticated,
    CloseCode.FORBIDDEN.code: Forbidden,
    CloseCode.OVER_LIMIT.code: TooManyRequests,
}
_REFUSALS: Final[dict[str, tuple[type[Refused], int]]] = {"not_found": (NotFound, 404), "forbidden": (Forbidden, 403)}
_TEXTS: Final = {close.code: close.text for close in CloseCode}


class Gone(Exception):
    """The connection ended; another is worth trying, after `after` seconds if the server said so."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Connection:
    """Keeps one WebSocket up while anybody watches over it."""

    def __init__(
        self,
        sockets: Callable[[], aiohttp.ClientSession],
        url: str,
        credential: Credential,
        down_after: float,
        spill: Callable[[Waiting[Any]], None],
        limit: int | None = None,
    ) -> None:
        """`spill` finds another connection for what has no room on this one; `limit` is what it holds, if known."""
        self.up = False
        self._sockets = sockets
        self._url = url
        self._credential = credential
        self._shown = ""
        """What was said in the last hello."""
        self._stale = asyncio.Event()
        self._down_after = down_after
        self._spill = spill
        self.limit = limit
        self._subscriptions: dict[Waiting[Any], None] = {}
        self._by_number: dict[int, Waiting[Any]] = {}
        self._last_number = 0
        self._wanted = asyncio.Event()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._alarm: asyncio.TimerHandle | None = None
        self._down = False
        self._heard_at = 0.0
        self._bye: float | None = None
        self._failed = False

    @property
    def room(self) -> int:
        """How many more subscriptions it takes; before the first welcome as many as come."""
        if self._failed:
            return 0
        return 1 if self.limit is None else self.limit - len(self._subscriptions)

    def add(self, subscription: Waiting[Any]) -> None:
        """Subscribe to one thing more over this connection."""
        self._subscriptions[subscription] = None
        self._wanted.set()
        if self.up:
            self._ask(subscription)
        elif self._down:
            subscription.link(Link.DOWN)

    def remove(self, subscription: Waiting[Any]) -> None:
        """Watch it no longer. Does nothing if it is not one of ours."""
        if subscription not in self._subscriptions:
            return
        del self._subscriptions[subscription]
        if self._by_number.pop(subscription.number, None) is not None and self.up:
            self._send({"t": "unsub", "id": subscription.number})
        if not self._subscriptions:
            self._wanted.clear()

    def fail(self, error: Exception) -> None:
        """End all watches with an error. Nothing is placed here any more."""
        self._failed = True
        for subscription in self._subscriptions:
            subscription.fail(error)
        self._subscriptions.clear()
        self._by_number.clear()

    async def run(self) -> None:
        """Keep the connection up until cancelled, or until the server says that coming back is useless."""
        loop = asyncio.get_running_loop()
        attempt = 0
        try:
            while True:
                if not self._wanted.is_set():
                    self._set_alarm(off=True)
                    await self._wanted.wait()
                self._set_alarm()
                began = loop.time()
                try:
                    await self._converse()
                except Gone as gone:
                    after = gone.after
                    log.debug("stream lost, coming back: %s", gone)
                finally:
                    self.up = False
                    self._by_number.clear()
                # Also while nobody watches: who begins to before the next attempt has waited long enough by then.
                self._set_alarm()
                attempt = 0 if loop.time() - began > SETTLED_S else attempt + 1
                await asyncio.sleep(jittered(attempt, base=0.25, cap=5.0) if after is None else after)
        except MilepostError as error:
            self.fail(error)
        except Exception as error:
            log.exception("the stream ended by a fault of the client")
            self.fail(error)
        finally:
            if self._alarm is not None:
                self._alarm.cancel()

    # -- one connection, from the upgrade to its end

    async def _converse(self) -> Never:
        try:
            async with asyncio.timeout(OPEN_S):
                socket = await self._sockets().ws_connect(
                    self._url, protocols=(SUBPROTOCOL,), compress=0, timeout=aiohttp.ClientWSTimeout(ws_close=2.0)
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status in {401, 403}:
                kind = Unauthenticated if error.status == 401 else Forbidden
                raise kind(
                    error.status, "about:blank", f"The notifier at {self._url} does not let this client in."
                ) from error
            raise Gone(f"no upgrade: HTTP {error.status}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Gone(f"cannot connect: {error!r}") from error
        try:
            ping = await self._greet(socket)
            await self._serve(socket, ping)
        except (aiohttp.ClientError, OSError, Protocol, Unreachable) as error:
            raise Gone(repr(error)) from error
        finally:
            self.up = False
            self._set_alarm()
            with contextlib.suppress(Exception):
                await socket.close()

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse, ping: float) -> Never:
        """Read, write and listen for silence until one of them ends the connection; raise what it raised."""
        tasks = [
            asyncio.create_task(self._read(socket)),
            asyncio.create_task(self._write(socket)),
            asyncio.create_task(self._listen_for_silence(ping)),
            asyncio.create_task(self._stay_valid()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise Gone("the connection ended")

    async def _greet(self, socket: aiohttp.ClientWebSocketResponse) -> float:
        """Say hello, take the welcome, subscribe to everything; return the server's ping interval in seconds."""
        self._bye = None
        self._outgoing = asyncio.Queue()
        self._stale.clear()
        try:
            async with asyncio.timeout(OPEN_S):
                self._shown = await self._credential.get()
                await socket.send_str(orjson.dumps({"t": "hello", "token": self._shown}).decode())
                frame = await self._receive(socket)
                while frame.get("t") != "welcome":
                    frame = await self._receive(socket)
        except TimeoutError:
            raise Gone("no welcome") from None
        try:
            ping, limit = float(frame["ping"]), int(frame["max_subs"])
        except (KeyError, TypeError, ValueError) as error:
            raise Protocol(f"a welcome that cannot be read: {error!r}") from error
        self.limit = max(1, limit)
        self.up = True
        self._set_alarm(off=True)
        for subscription in list(self._subscriptions)[self.limit :]:
            del self._subscriptions[subscription]
            self._spill(subscription)
        for subscription in self._subscriptions:
            subscription.link(Link.UP)
            self._ask(subscription)
        return ping

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> Never:
        while True:
            self._take(await self._receive(socket))

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
        """Return the next frame. Raises Gone or Refused when the server closes."""
        message = await socket.receive()
        self._heard_at = asyncio.get_running_loop().time()
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                frame = read_json(message.data)
            except ValueError as error:
                raise Protocol("a frame that is not JSON") from error
            if not isinstance(frame, dict):
                raise Protocol("a frame that is not an object")
            return frame
        if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED}:
            if socket.close_code == CloseCode.TOKEN_EXPIRED.code and self._credential.renewable:
                await self._credential.instead_of(self._shown)
            raise self._closed(socket.close_code, message.extra)
        if message.type is aiohttp.WSMsgType.ERROR:
            raise Gone(f"broken: {message.data!r}")
        raise Protocol("a binary frame")

    def _closed(self, code: int | None, reason: object) -> Gone | Refused:
        text = str(reason or _TEXTS.get(code or 0, "no reason given"))
        expired = code == CloseCode.TOKEN_EXPIRED.code and not self._credential.renewable
        if expired or not reconnects(code):
            return _CLOSINGS.get(code or 0, Refused)(
                code or 0,
                "about:blank",
                f"The notifier closed the stream for good ({code}, {text}). Check the key and how much is watched.",
            )
        return Gone(f"closed with {code}, {text}", self._bye)

    def _take(self, frame: dict[str, Any]) -> None:
        kind = frame.get("t")
        if kind in {"ev", "snap", "end", "live", "changes"}:
            subscription = self._by_number.get(frame.get("id", -1))
            if subscription is None:
                return  # of a subscription that was given up meanwhile
            if subscription.frame(frame) is LOST:
                self._by_number.pop(subscription.number, None)
                self._send({"t": "unsub", "id": subscription.number})
                self._ask(subscription)
                return
            if kind == "end":
                del self._by_number[subscription.number]
            if subscription.over:
                self.remove(subscription)
            elif kind == "end":
                # Of before a retry that the stream has not heard of yet.
                self._ask_later(subscription)
        elif kind == "ping":
            self._send({"t": "pong"})
        elif kind == "err":
            self._refused(frame)
        else:
            self._heed(frame)

    def _heed(self, frame: dict[str, Any]) -> None:
        """Take what the server says of the connection itself."""
        match frame.get("t"):
            case "refresh":
                self._stale.set()
            case "bye":
                self._bye = max(0.0, float(frame.get("after", 0)) / 1000)

    def _refused(self, frame: dict[str, Any]) -> None:
        """One subscription cannot be had: now, here, or at all."""
        number, code = frame.get("id"), frame.get("code")
        if code == "too_many_children":
            log.warning("the notifier says: %s", frame.get("message"))
            return
        subscription = self._by_number.pop(number, None) if isinstance(number, int) else None
        if subscription is None:
            log.warning("the notifier says: %s", frame.get("message"))
            return
        if code == "too_many_subs":
            del self._subscriptions[subscription]
            self.limit = len(self._subscriptions)
            self._spill(subscription)
        elif code == "unavailable":
            self._ask_later(subscription)
        else:
            del self._subscriptions[subscription]
            kind, status = _REFUSALS.get(str(code), (Refused, 400))
            subscription.fail(kind(status, f"stream:{code}", str(frame.get("message"))))

    def _ask_later(self, subscription: Waiting[Any]) -> None:
        """Leave it to the watchdog to subscribe again, without haste; until then the reader asks the API."""
        subscription.asked_at = asyncio.get_running_loop().time() - ANSWER_S + 2.0
        subscription.link(Link.DOWN)

    # -- what goes out

    def _ask(self, subscription: Waiting[Any], *, afresh: bool = False) -> None:
        self._last_number += 1
        subscription.number = self._last_number
        subscription.asked_at = asyncio.get_running_loop().time()
        self._by_number[subscription.number] = subscription
        self._send({"t": "sub", "id": subscription.number, **subscription.asks(afresh=afresh)})

    def _send(self, frame: dict[str, Any]) -> None:
        self._outgoing.put_nowait(orjson.dumps(frame))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> Never:
        outgoing = self._outgoing
        while True:
            await socket.send_frame(await outgoing.get(), aiohttp.WSMsgType.TEXT)

    # -- time

    async def _stay_valid(self) -> Never:
        """Say hello with another token when the one in use runs out. Without one the server closes in a minute."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            if not self._credential.renewable:
                continue
            try:
                self._shown = await self._credential.instead_of(self._shown)
            except Unreachable as error:
                log.warning("%s", error)
                await asyncio.sleep(RENEW_AGAIN_S)
                self._stale.set()
            else:
                self._send({"t": "hello", "token": self._shown})

    async def _listen_for_silence(self, ping: float) -> Never:
        """End the connection when nothing comes; ask again for what is never answered."""
        loop = asyncio.get_running_loop()
        patience = max(1.0, min(ping * SILENT_PINGS, SILENT_S))
        while True:
            await asyncio.sleep(min(patience / 4, 2.0))
            now = loop.time()
            if now - self._heard_at > patience:
                raise Gone(f"nothing was heard for {patience:g} s")
            if now - self._heard_at > patience / 2:
                self._send({"t": "ping"})
            for subscription in list(self._subscriptions):
                if subscription.asked_at is not None and now - subscription.asked_at > ANSWER_S:
                    if self._by_number.pop(subscription.number, None) is not None:
                        self._send({"t": "unsub", "id": subscription.number})
                    self._ask(subscription, afresh=True)

    def _set_alarm(self, *, off: bool = False) -> None:
        """Tell the readers in a moment that there is no stream, unless it is back by then."""
        if off:
            self._down = False
        if self._alarm is not None and (off or self._down):
            self._alarm.cancel()
            self._alarm = None
        elif self._alarm is None and not off and not self._down:
            self._alarm = asyncio.get_running_loop().call_later(self._down_after, self._tell_down)

    def _tell_down(self) -> None:
        self._alarm = None
        self._down = True
        for subscription in self._subscriptions:
            subscription.link(Link.DOWN)
