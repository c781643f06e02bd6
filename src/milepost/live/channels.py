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
"""After so long without a byte, or sooner, the server is asked if it is there, and has as long again to answer."""
LEAVE_S: Final = 0.05
"""What was left is told so much later, or with what is wanted next: it does no harm, and goes together."""
_CHUNK: Final = 256 * 1024

Message = tuple[bytes, bytes, bool]
"""Channel, message, and whether every later message of the channel will be delivered too.

That is not so of one that was still on its way when the channel was left and wanted again.
"""
Deliver = Callable[[Sequence[Message]], None]


class _Waiter:
    """Waits until a number of channels is confirmed."""

    __slots__ = ("future", "left")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.left = 0

    def one_less(self) -> None:
        """Note that one is confirmed, or not waited for any more."""
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(None)


class Channels:
    """Subscriptions of this process. `deliver` gets all messages of one wake-up; it must not wait.

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
        self._dirty: dict[bytes, None] = {}
        """Channels that were wanted or left since the server was told; what they are now is in `_wanted`."""
        self._unconfirmed: dict[bytes, int] = {}
        self._waiters: dict[bytes, list[_Waiter]] = {}
        self._leaving: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._ever = False
        self._heard = False
        self.connected = False

    async def watch(self, channels: Sequence[str], timeout: float) -> None:
        """Return once every message published from now on will be delivered.

        Raises Unavailable when that is not confirmed in `timeout` seconds; the channels stay wanted.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future())
        for name in channels:
            channel = name.encode()
            if channel not in self._wanted:
                self._wanted.add(channel)
                self._dirty[channel] = None
            if channel in self._told and channel not in self._unconfirmed and self.connected:
                continue
            self._waiters.setdefault(channel, []).append(waiter)
            waiter.left += 1
        if not waiter.left:
            return
        self._changed.set()
        await asyncio.wait([waiter.future], timeout=timeout)
        if not waiter.future.done():
            waiter.future.cancel()
            raise Unavailable("Redis did not confirm a subscription in time. It is asked again when it is back.")

    def leave(self, channel: str) -> None:
        """Stop listening; messages already on their way may still be delivered."""
        name = channel.encode()
        if name in self._wanted:
            self._wanted.remove(name)
            self._dirty[name] = None
        self._release(name)  # whoever waited for it has left too
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().call_later(LEAVE_S, self._tell_now)

    def _tell_now(self) -> None:
        self._leaving = None
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
                # In a task of its own: before Python 3.13 a TaskGroup whose part fails while it waits for the others
                # leaves its task marked as cancelled, and the next timeout in that task would pass for its end.
                await asyncio.create_task(self._listen())
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
            self._told, self._unconfirmed, self._dirty = set(), {}, dict.fromkeys(self._wanted)
            self.connected = True
            self._changed.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell(connection))
                group.create_task(self._hear(connection))
                group.create_task(self._watch_over(connection))
                if self._ever:
                    log.info("channel to Redis is back", channels=len(self._wanted))
                    group.create_task(self._catch_up())
                self._ever = True
        finally:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _catch_up(self) -> None:
        """Run `reconnected` when everything is subscribed again: what was missed before that is in the snapshots.

        Not before, however long that takes: what is told between the two would be missed, and nobody would know.
        """
        while True:
            try:
                await self.watch([channel.decode() for channel in self._wanted], timeout=2 * ANSWER_S)
            except Unavailable:
                log.warning("Redis is slow to confirm channels; what was missed is made up for when it has")
            else:
                break
        await self._reconnected()

    async def _tell(self, connection: Any) -> None:
        """Send what changed in what is wanted."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            dirty, self._dirty = self._dirty, {}
            new = [channel for channel in dirty if channel in self._wanted and channel not in self._told]
            old = [channel for channel in dirty if channel in self._told and channel not in self._wanted]
            self._told.update(new)
            self._told.difference_update(old)
            for channel in new:
                self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
            for command, names in ((b"SUBSCRIBE", new), (b"UNSUBSCRIBE", old)):
                if names:
                    await _send(connection, command, *names)

    async def _hear(self, connection: Any) -> None:
        """Read for ever. Raises ConnectionError when the server is gone or silent."""
        stream: asyncio.StreamReader = connection._reader  # noqa: SLF001 - redis-py's parser handles one message a call
        parser = hiredis.Reader()
        while True:
            data = await stream.read(_CHUNK)
            if not data:
                raise ConnectionError("Redis closed the connection")
            self._heard = True
            parser.feed(data)
            messages: list[Message] = []
            while (reply := parser.gets()) is not False:
                if isinstance(reply, hiredis.ReplyError):
                    raise ConnectionError(f"Redis refused: {reply}")
                if reply[0] == b"message":
                    channel = reply[1]
                    kept = channel in self._told and channel not in self._unconfirmed
                    messages.append((channel, reply[2], kept))
                elif reply[0] == b"subscribe":
                    self._confirmed(reply[1])
            if messages:
                self._deliver(messages)

    async def _watch_over(self, connection: Any) -> None:
        """Ask a quiet server whether it is there. Raises ConnectionError when it does not answer.

        A mark is looked at every half of `QUIET_S`, so that reading needs no timer of its own.
        """
        quiet = 0
        self._heard = False
        while True:
            await asyncio.sleep(QUIET_S / 2)
            quiet = 0 if self._heard else quiet + 1
            self._heard = False  # before asking: on a machine at rest the answer is here before the question was sent
            if quiet == 1:
                await _send(connection, b"PING")
            elif quiet == 3:
                raise ConnectionError("Redis is silent")

    def _confirmed(self, channel: bytes) -> None:
        left = self._unconfirmed.get(channel, 1) - 1
        if left > 0:
            self._unconfirmed[channel] = left
            return
        self._unconfirmed.pop(channel, None)
        self._release(channel)

    def _release(self, channel: bytes) -> None:
        for waiter in self._waiters.pop(channel, ()):
            waiter.one_less()


async def _send(connection: Any, *words: bytes) -> None:
    """Send a command. Raises asyncio.CancelledError also when redis-py has swallowed that."""
    await connection.send_packed_command(connection.pack_command(*words), check_health=False)
    # It sends under asyncio.wait_for, which in Python 3.11 loses a cancellation that comes when it has just sent.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
