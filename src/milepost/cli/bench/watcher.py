"""One WebSocket that watches every task of a run: each by a subscription of its own, or all by the feed."""

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import orjson

from milepost.audit.frames import Frames
from milepost_schemas.event import EventKind
from milepost_schemas.frames import SUBPROTOCOL

_TERMINAL = frozenset(kind.value for kind in EventKind if kind.terminal)


class Watcher:
    """Notes when the terminal frame of each task came, by the loop's clock."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, feed: bool) -> None:
        self._socket = socket
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._room = asyncio.Semaphore(0)
        self._ids: dict[int, str] = {}
        self.ended: dict[str, float] = {}
        self.states: dict[str, str] = {}
        self.frames = 0
        self.audited: Frames | None = None
        self._changed = asyncio.Event()

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, url: str, key: str, *, feed: bool) -> "Watcher":
        """Connect and say hello; with `feed`, be told of every task from now on."""
        socket = await session.ws_connect(url, protocols=(SUBPROTOCOL,), max_msg_size=0, compress=0, autoping=True)
        await socket.send_str(orjson.dumps({"t": "hello", "token": key}).decode())
        welcome = orjson.loads(await socket.receive_str())
        watcher = cls(socket, feed=feed)
        if feed:
            await socket.send_str('{"t":"sub","id":0,"feed":"tasks"}')
            live = orjson.loads(await socket.receive_str())
            if live["t"] != "live":
                raise RuntimeError(f"the notifier did not open its feed: {live}")
        for _ in range(welcome["max_subs"]):
            watcher._room.release()
        return watcher

    async def watch(self, tasks: Iterable[str]) -> None:
        """Subscribe to tasks, unless the feed tells of them; waits while the server's limit of them is reached."""
        if self._feed:
            return
        for task in tasks:
            await self._room.acquire()
            self._next += 1
            self._ids[self._next] = task
            if self.audited is not None:
                self.audited.subscribed(self._next, task)
            await self._socket.send_str(f'{{"t":"sub","id":{self._next},"task":"{task}","tree":false}}')

    async def run(self) -> None:
        """Read frames until the socket is closed."""
        async for message in self._socket:
            frame: dict[str, Any] = orjson.loads(message.data)
            self.frames += 1
            if self.audited is not None and not self._feed:
                self.audited.got(frame)
            match frame["t"]:
                case "end":
                    task = self._ids.pop(frame["id"])
                    self.ended[task] = self._loop.time()
                    self.states[task] = frame["task"]["state"]
                    self._room.release()
                    self._changed.set()
                case "changes":
                    now = self._loop.time()
                    for change in frame["changes"]:
                        if change["kind"] in _TERMINAL:
                            self.ended[change["task"]] = now
                            self.states[change["task"]] = change["kind"]
                    self._changed.set()
                case "live":
                    raise RuntimeError("the feed missed something")
                case "err":
                    raise RuntimeError(f"the notifier refused: {frame}")
                case "ping":
                    await self._socket.send_str('{"t":"pong"}')

    async def has_ended(self, count: int, timeout: float) -> None:
        """Wait until so many tasks have ended. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while len(self.ended) < count:
                self._changed.clear()
                await self._changed.wait()
