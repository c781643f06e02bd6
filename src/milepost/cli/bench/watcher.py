"""One WebSocket that watches every task of a run."""

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import orjson

from milepost.audit.frames import Frames
from milepost_schemas.frames import SUBPROTOCOL


class Watcher:
    """Subscribes to tasks and notes when their terminal frame came, by the loop's clock."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
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
    async def open(cls, session: aiohttp.ClientSession, url: str, key: str) -> "Watcher":
        """Connect and say hello."""
        socket = await session.ws_connect(url, protocols=(SUBPROTOCOL,), max_msg_size=0, compress=0, autoping=True)
        await socket.send_str(orjson.dumps({"t": "hello", "token": key}).decode())
        welcome = orjson.loads(await socket.receive_str())
        watcher = cls(socket)
        for _ in range(welcome["max_subs"]):
            watcher._room.release()
        return watcher

    async def watch(self, tasks: Iterable[str]) -> None:
        """Subscribe to tasks; waits while the server's limit of subscriptions is reached."""
        for task in tasks:
            await self._room.acquire()
            self._next += 1
            self._ids[self._next] = task
            if self.audited is not None:
                self.audited.subscribed(self._next, task)
            await self._socket.send_str(f'{{"t":"sub","id":{self._next},"task":"{task}"}}')

    async def run(self) -> None:
        """Read frames until the socket is closed."""
        async for message in self._socket:
            frame: dict[str, Any] = orjson.loads(message.data)
            self.frames += 1
            if self.audited is not None:
                self.audited.got(frame)
            match frame["t"]:
                case "end":
                    task = self._ids.pop(frame["id"])
                    self.ended[task] = self._loop.time()
                    self.states[task] = frame["task"]["state"]
                    self._room.release()
                    self._changed.set()
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
