"""A network that fails: a TCP proxy which holds back, cuts or swallows what goes through it.

For Postgres and Redis by their address, for Kafka as the port its brokers advertise.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 64 * 1024
_ASK_AGAIN_S = 0.05


class Proxy:
    """Listens on a port of its own and passes bytes to a server until told otherwise.

    While nobody listens behind it, nobody does here: a server that is gone refuses, and does not take and hang up.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self.accepted = 0
        """Connections taken so far."""
        self._flows = asyncio.Event()
        self._replies = asyncio.Event()
        self._ends = asyncio.Event()
        self._passed = asyncio.Event()
        self._held = asyncio.Event()
        self.flow()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Task[None] | None = None

    @property
    def open(self) -> int:
        """Connections there are."""
        return len(self._pairs)

    async def listen(self) -> None:
        """Take connections, from the first call on always on the same port; nothing if it does."""
        if self._server is not None or self._waiting is not None:
            return
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no more connections and cut those there are, as a host does whose server died."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._close()
        self.cut()
        for _ in range(3):  # until the port is free
            await asyncio.sleep(0)

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            loop = asyncio.get_running_loop()
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
            # What was taken just now gets its transport in the next turn; of a server that is closed by then, asyncio
            # makes half of one and leaves it to the collector.
            loop.call_soon(loop.call_soon, server.close)

    def _nobody_there(self) -> None:
        """Refuse until somebody listens again."""
        if self._server is not None:
            self._close()
            self._waiting = asyncio.create_task(self._until_somebody_is())

    async def _until_somebody_is(self) -> None:
        while True:
            await asyncio.sleep(_ASK_AGAIN_S)
            with contextlib.suppress(OSError):
                _, asking = await asyncio.open_connection(*self.target)
                asking.transport.abort()
                break
        self._waiting = None
        await self._listen()

    def stall(self) -> None:
        """Hold everything back, on connections there are and on new ones: no byte, no end, as after a network cut."""
        self._held.clear()
        self._flows.clear()
        self._replies.clear()

    def hold_replies(self) -> None:
        """Let requests pass and hold back what is answered: the server does it and nobody learns of it."""
        self._passed.clear()
        self._replies.clear()

    def swallow(self) -> None:
        """As `stall`, and what the server ends is not heard of here either, until `flow`."""
        self.stall()
        self._ends.clear()

    def flow(self) -> None:
        """Let everything pass again, first what was held back."""
        self._ends.set()
        self._flows.set()
        self._replies.set()

    async def held_back(self, within_s: float = 10.0) -> None:
        """Wait until a request was held back since `stall`."""
        async with asyncio.timeout(within_s):
            await self._held.wait()

    async def request_passed(self, within_s: float = 10.0) -> None:
        """Wait until a request went through since `hold_replies`."""
        async with asyncio.timeout(within_s):
            await self._passed.wait()

    def cut(self) -> None:
        """Reset every connection there is."""
        for pair in list(self._pairs):
            for end in pair:
                if end is not None:
                    end.transport.abort()

    async def stop(self) -> None:
        """End all of it."""
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:  # by `stop`; asyncio's streams would log it
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        alone = (writer, None)
        self._pairs.add(alone)
        try:
            await self._flows.wait()
            there, back = await asyncio.open_connection(*self.target)
        except OSError as error:
            writer.transport.abort()
            if isinstance(error, ConnectionRefusedError):
                self._nobody_there()
            return
        finally:
            self._pairs.discard(alone)
            self._tasks.discard(task)
        pair = (writer, back)
        self._pairs.add(pair)
        self._tasks.add(task)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, back))
                group.create_task(self._answer(there, writer))
        finally:
            self._pairs.discard(pair)
            self._tasks.discard(task)
            for end in pair:
                end.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not self._flows.is_set():
                    self._held.set()
                    await self._flows.wait()
                writer.write(data)
                await writer.drain()
                self._passed.set()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._replies.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            await self._ends.wait()
            writer.close()


@asynccontextmanager
async def proxy_to(port: int, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """Run a proxy before a server."""
    proxy = Proxy(host, port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.stop()
