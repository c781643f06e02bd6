"""The channels one process listens to: one connection, however many clients watch."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio import Redis

from milepost.errors import Unavailable
from milepost.live.connection import ANSWER_S
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger

log = get_logger("milepost.live.channels")

QUIET_S: Final = 5.0
"""After so long without a byte the server is asked whether it is there, and has as long again to answer."""
_CHUNK: Final = 256 * 1024

Deliver = Callable[[Sequence[tuple[bytes, bytes]]], None]


class Channels:
    """Subscriptions of this process. `deliver` gets all (channel, message) pairs of one wake-up; it must not wait.

    Connections break: then everything wanted is subscribed again and `reconnected` is awaited, because messages
    were missed. Bytes are read and parsed here, many messages a wake-up, for that is what this process spends its
    time on; connecting and authenticating is left to redis-py.
    """

    def __init__(self, redis: Redis, deliver: Deliver, reconnected: Callable[[], Awaitable[None]]) -> None:
        self._redis: Any = redis
        self._deliver = deliver
        self._reconnected = reconnected
        self._wanted: set[bytes] = set()
        self._told: set[bytes] = set()
        self._unconfirmed: dict[bytes, int] = {}
        self._waiters: dict[bytes, list[asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()
        self._ever = False
        self.connected = False

    async def watch(self, channels: Sequence[str], timeout: float) -> None:
        """Return once every message published from now on will be delivered.

        Raises Unavailable when that is not confirmed in `timeout` seconds; the channels stay wanted.
        """
        waiting: list[asyncio.Future[None]] = []
        loop = asyncio.get_running_loop()
        for name in channels:
            channel = name.encode()
            self._wanted.add(channel)
            if channel in self._told and channel not in self._unconfirmed and self.connected:
                continue
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.setdefault(channel, []).append(future)
            waiting.append(future)
        if not waiting:
            return
        self._changed.set()
        _, late = await asyncio.wait(waiting, timeout=timeout)
        for future in late:
            future.cancel()
        if late:
            raise Unavailable("Redis did not confirm a subscription in time. It is asked again when it is back.")

    def leave(self, channel: str) -> None:
        """Stop listening; messages already on their way may still be delivered."""
        name = channel.encode()
        self._wanted.discard(name)
        self._release(name)  # whoever waited for it has left too
        self._changed.set()

    def leave_all_but(self, channels: Container[str]) -> None:
        """Stop listening to everything else."""
        for name in [name for name in self._wanted if name.decode() not in channels]:
            self.leave(name.decode())

    async def run(self) -> None:
        """Keep the connection up until cancelled; waits between attempts grow to 2 s, with jitter."""
        attempt = 0
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it was, the mend is a new connection
                attempt = 1 if self.connected else attempt + 1
                if attempt == 1:
                    log.warning("no channel to Redis; live events wait until it is back", error=repr(error))
            finally:
                self.connected = False
            await asyncio.sleep(jittered(attempt, cap=2.0))

    async def _listen(self) -> None:
        connection: Any = self._redis.connection_pool.make_connection()
        async with asyncio.timeout(2 * ANSWER_S):
            await connection.connect()
        try:
            self._told, self._unconfirmed = set(), {}
            self.connected = True
            self._changed.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell(connection))
                group.create_task(self._hear(connection))
                if self._ever:
                    log.info("channel to Redis is back", channels=len(self._wanted))
                    group.create_task(self._catch_up())
                self._ever = True
        finally:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _catch_up(self) -> None:
        """Run `reconnected` when everything is subscribed again: what was missed before that is in the snapshots."""
        with contextlib.suppress(Unavailable):
            await self.watch([channel.decode() for channel in self._wanted], timeout=2 * ANSWER_S)
        await self._reconnected()

    async def _tell(self, connection: Any) -> None:
        """Send what changed in what is wanted."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            new = self._wanted - self._told
            old = self._told - self._wanted
            self._told = set(self._wanted)
            for channel in new:
                self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
            for command, names in ((b"SUBSCRIBE", new), (b"UNSUBSCRIBE", old)):
                if names:
                    await connection.send_packed_command(connection.pack_command(command, *names), check_health=False)

    async def _hear(self, connection: Any) -> None:
        """Read for ever. Raises ConnectionError when the server is gone or silent."""
        stream: asyncio.StreamReader = connection._reader  # noqa: SLF001 - redis-py's parser handles one message a call
        parser = hiredis.Reader()
        asked = False
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    data = await stream.read(_CHUNK)
            except TimeoutError:
                if asked:
                    raise ConnectionError("Redis is silent") from None
                asked = True
                await connection.send_packed_command(connection.pack_command(b"PING"), check_health=False)
                continue
            if not data:
                raise ConnectionError("Redis closed the connection")
            asked = False
            parser.feed(data)
            messages = []
            while (reply := parser.gets()) is not False:
                if isinstance(reply, hiredis.ReplyError):
                    raise ConnectionError(f"Redis refused: {reply}")
                if reply[0] == b"message":
                    messages.append((reply[1], reply[2]))
                elif reply[0] == b"subscribe":
                    self._confirmed(reply[1])
            if messages:
                self._deliver(messages)

    def _confirmed(self, channel: bytes) -> None:
        left = self._unconfirmed.get(channel, 1) - 1
        if left > 0:
            self._unconfirmed[channel] = left
            return
        self._unconfirmed.pop(channel, None)
        self._release(channel)

    def _release(self, channel: bytes) -> None:
        for future in self._waiters.pop(channel, ()):
            if not future.done():
                future.set_result(None)
