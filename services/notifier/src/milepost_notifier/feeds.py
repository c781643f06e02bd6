"""Feeds: what happens to all tasks of a tenant, gathered for a moment and told to everybody who listens in one frame.

A feed has no chain of positions: who misses something is told so (`live` with `reset`) and reads the list again. So a
dashboard costs a frame every `GATHER_S`, not one for each of the tasks it shows.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from milepost.errors import Unavailable
from milepost.live import Channels
from milepost.live.connection import ANSWER_S
from milepost.live.wire import TERMINAL, feed_entries
from milepost.runtime.logs import get_logger
from milepost_notifier.peer import Peer

log = get_logger("milepost.notifier.feeds")

GATHER_S: Final = 0.05
PROGRESS_EVERY_S: Final = 1.0
"""A list shows the progress of each task this often; the latest of it, never an older one later."""
FRAME_BYTES: Final = 64 * 1024
RETRY_S: Final = 0.5
REMEMBERED: Final = 20_000


class Gathered:
    """Changes of one tenant that were not told yet, as JSON texts. Time is passed in, in seconds."""

    def __init__(self) -> None:
        self._changes: list[bytes] = []
        self._progress: dict[bytes, bytes] = {}
        self._shown_at: dict[bytes, float] = {}

    def add(self, message: bytes) -> None:
        """Take a message of the feed's channel. Raises ValueError for what the ingest did not write."""
        for task, at, kind, alone, data in feed_entries(message):
            change = b'{"task":"%b","at":[%b],"kind":"%b","data":%b}' % (task, at, kind, data)
            if alone:
                self._progress[task] = change
                continue
            before = self._progress.pop(task, None)
            if before is not None:  # it happened before this, and what comes next may not say it again
                self._changes.append(before)
            self._changes.append(change)
            if kind.decode() in TERMINAL:
                self._shown_at.pop(task, None)

    def take(self, now: float) -> list[bytes]:
        """Return what is to be told now: JSON lists of changes, each of a size that fits a frame."""
        for task in [task for task in self._progress if now - self._shown_at.get(task, -1e9) >= PROGRESS_EVERY_S]:
            self._changes.append(self._progress.pop(task))
            self._shown_at[task] = now
        if len(self._shown_at) > REMEMBERED:
            self._shown_at = {task: at for task, at in self._shown_at.items() if now - at < PROGRESS_EVERY_S}
        changes, self._changes = self._changes, []
        return list(_lists(changes))

    def clear(self) -> None:
        """Forget what was not told."""
        self._changes.clear()
        self._progress.clear()

    @property
    def waiting(self) -> bool:
        """Whether there is something that was not told."""
        return bool(self._changes or self._progress)


def _lists(changes: Iterable[bytes]) -> Iterable[bytes]:
    some: list[bytes] = []
    size = 0
    for change in changes:
        some.append(change)
        size += len(change)
        if size >= FRAME_BYTES:
            yield b"[%b]" % b",".join(some)
            some, size = [], 0
    if some:
        yield b"[%b]" % b",".join(some)


class _Feed:
    __slots__ = ("gathered", "timer", "watchers")

    def __init__(self) -> None:
        self.gathered = Gathered()
        self.watchers: dict[Peer, None] = {}
        self.timer: asyncio.TimerHandle | None = None


def channel_of(tenant: str) -> str:
    """Return the channel that apply.lua tells a tenant's changes on."""
    return f"mp:{tenant}:feed"


class Feeds:
    """The feeds that clients here listen to. `serve` carries out what a session wants and sends what it has."""

    def __init__(self, channels: Channels, serve: Callable[[Peer], None]) -> None:
        self._channels = channels
        self._serve = serve
        self._feeds: dict[str, _Feed] = {}
        self._joining: dict[str, None] = {}
        self._wake = asyncio.Event()

    @property
    def channels(self) -> Iterable[str]:
        """Those that are wanted."""
        return self._feeds.keys()

    async def run(self) -> None:
        """Attach to channels and tell who waits for that, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted, self._joining = [name for name in self._joining if name in self._feeds], {}
            try:
                await self._channels.watch(wanted, timeout=ANSWER_S)
            except Unavailable:
                self._joining |= dict.fromkeys(wanted)
                await asyncio.sleep(RETRY_S)
                self._wake.set()
                continue
            for name in wanted:
                self._tell(name, reset=False)

    def join(self, tenant: str, connection: Peer) -> None:
        """Let a client listen; its session is told when nothing will be missed any more."""
        name = channel_of(tenant)
        self._feeds.setdefault(name, _Feed()).watchers[connection] = None
        self._joining[name] = None
        self._wake.set()

    def leave(self, tenant: str, connection: Peer) -> None:
        """Let a client listen no more."""
        name = channel_of(tenant)
        feed = self._feeds.get(name)
        if feed is None:
            return
        feed.watchers.pop(connection, None)
        if not feed.watchers:
            del self._feeds[name]
            if feed.timer is not None:
                feed.timer.cancel()
            self._channels.leave(name)

    def deliver(self, channel: str, message: bytes) -> bool:
        """Take a message; False if it is not of a feed anybody here listens to."""
        feed = self._feeds.get(channel)
        if feed is None:
            return False
        try:
            feed.gathered.add(message)
        except ValueError:
            log.warning("a message that the ingest did not write was left out", channel=channel)
        if feed.timer is None:
            feed.timer = asyncio.get_running_loop().call_later(GATHER_S, self._flush, channel, feed)
        return True

    def missed(self) -> None:
        """Say to everybody that changes were lost on the way."""
        for name, feed in self._feeds.items():
            feed.gathered.clear()
            self._tell(name, reset=True)

    def _tell(self, name: str, *, reset: bool) -> None:
        feed = self._feeds.get(name)
        for connection in tuple(feed.watchers) if feed is not None else ():
            if connection.session is not None:
                connection.session.feed_on(reset=reset)
                self._serve(connection)

    def _flush(self, channel: str, feed: _Feed) -> None:
        loop = asyncio.get_running_loop()
        feed.timer = None
        for changes in feed.gathered.take(loop.time()):
            for connection in tuple(feed.watchers):
                if connection.session is not None:
                    connection.session.changes(changes, loop.time())
                    self._serve(connection)
        if feed.gathered.waiting and self._feeds.get(channel) is feed:
            feed.timer = loop.call_later(PROGRESS_EVERY_S / 4, self._flush, channel, feed)
