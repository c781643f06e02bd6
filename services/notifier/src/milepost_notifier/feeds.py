"""Feeds: what happens to all tasks of a tenant, gathered for a moment and told to everybody who listens in one frame.

A feed has no chain of positions: who misses something is told so (`live` with `reset`) and reads the list again. So a
dashboard costs a frame every `GATHER_S`, not one for each of the tasks it shows.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from milepost.domain.feed_filter import Filter
from milepost.errors import Unavailable
from milepost.live import Channels, Snapshots
from milepost.live.connection import ANSWER_S
from milepost.live.wire import TERMINAL, feed_entries
from milepost.runtime.logs import get_logger
from milepost_notifier.peer import Peer
from milepost_notifier.sieve import Change, Sieve
from milepost_notifier.tasks import TaskSource
from milepost_notifier.traits import traits_of

log = get_logger("milepost.notifier.feeds")

GATHER_S: Final = 0.05
PROGRESS_EVERY_S: Final = 1.0
"""A list shows the progress of each task this often; the latest of it, never an older one later."""
FRAME_BYTES: Final = 64 * 1024
RETRY_S: Final = 0.5
ASK_MAX: Final = 1_000
"""Tasks of a tenant that are looked up at once."""
REMEMBERED: Final = 20_000


class Gathered:
    """Changes of one tenant that were not told yet, as JSON texts. Time is passed in, in seconds."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._progress: dict[bytes, Change] = {}
        self._shown_at: dict[bytes, float] = {}

    def add(self, message: bytes) -> None:
        """Take a message of the feed's channel. Raises ValueError for what the ingest did not write."""
        for task, at, kind, alone, data, trace in feed_entries(message):
            traced = b"" if trace == b"-" else b',"trace_id":"%b"' % trace[3:35]
            change = task, kind, b'{"task":"%b","at":[%b],"kind":"%b","data":%b%b}' % (task, at, kind, data, traced)
            if alone:
                self._progress[task] = change
                continue
            before = self._progress.pop(task, None)
            if before is not None:  # it happened before this, and what comes next may not say it again
                self._changes.append(before)
            self._changes.append(change)
            if kind.decode() in TERMINAL:
                self._shown_at.pop(task, None)

    def take(self, now: float) -> list[Change]:
        """Return what is to be told now, in order for each task."""
        for task in [task for task in self._progress if now - self._shown_at.get(task, -1e9) >= PROGRESS_EVERY_S]:
            self._changes.append(self._progress.pop(task))
            self._shown_at[task] = now
        if len(self._shown_at) > REMEMBERED:
            self._shown_at = {task: at for task, at in self._shown_at.items() if now - at < PROGRESS_EVERY_S}
        changes, self._changes = self._changes, []
        return changes

    def clear(self) -> None:
        """Forget what was not told."""
        self._changes.clear()
        self._progress.clear()

    @property
    def waiting(self) -> bool:
        """Whether there is something that was not told."""
        return bool(self._changes or self._progress)


def lists_of(changes: Iterable[bytes]) -> Iterable[bytes]:
    """Yield JSON lists of changes, each of a size that fits a frame."""
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
    """Who listens to the tasks of a tenant: to all of them (None), or to those a filter lets through."""

    __slots__ = ("gathered", "sieve", "tenant", "timer", "watchers")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.gathered = Gathered()
        self.watchers: dict[Filter | None, dict[Peer, None]] = {}
        self.sieve: Sieve | None = None
        """None while nobody has a filter: then nothing has to be known of tasks."""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def filters(self) -> list[Filter]:
        """Those in use."""
        return [only for only in self.watchers if only is not None]


def channel_of(tenant: str) -> str:
    """Return the channel that apply.lua tells a tenant's changes on."""
    return f"mp:{tenant}:feed"


class Feeds:
    """The feeds that clients here listen to. `serve` carries out what a session wants and sends what it has."""

    def __init__(
        self, channels: Channels, snapshots: Snapshots, source: TaskSource, serve: Callable[[Peer], None]
    ) -> None:
        self._channels = channels
        self._snapshots = snapshots
        self._source = source
        self._serve = serve
        self._unknown = asyncio.Event()
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
                if (feed := self._feeds.get(name)) is not None:
                    self._tell(feed, list(feed.watchers), reset=False)

    async def look(self) -> None:
        """Find out about tasks that filters were not yet asked about, until cancelled."""
        while True:
            await self._unknown.wait()
            self._unknown.clear()
            sieves = {feed.tenant: feed.sieve for feed in self._feeds.values() if feed.sieve is not None}
            keys = [(tenant, task) for tenant, sieve in sieves.items() for task in sieve.unknown(ASK_MAX)]
            if not keys:
                continue
            try:
                found = await traits_of(self._snapshots, self._source, [(t, UUID(task.decode())) for t, task in keys])
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                self._unknown.set()
                continue
            for tenant, sieve in sieves.items():
                sieve.learn({str(task).encode(): traits for (t, task), traits in found.items() if t == tenant})
            for feed in tuple(self._feeds.values()):
                self._sift(feed)

    def join(self, tenant: str, only: Filter | None, connection: Peer) -> None:
        """Let a client listen; its session is told when nothing will be missed any more."""
        name = channel_of(tenant)
        feed = self._feeds.setdefault(name, _Feed(tenant))
        feed.watchers.setdefault(only, {})[connection] = None
        if only is not None:
            feed.sieve = feed.sieve or Sieve()
            feed.sieve.add(only)
        self._joining[name] = None
        self._wake.set()

    def leave(self, tenant: str, only: Filter | None, connection: Peer) -> None:
        """Let a client listen no more."""
        name = channel_of(tenant)
        feed = self._feeds.get(name)
        if feed is None or only not in feed.watchers:
            return
        feed.watchers[only].pop(connection, None)
        if not feed.watchers[only]:
            del feed.watchers[only]
            if only is not None and feed.sieve is not None and not feed.sieve.remove(only):
                feed.sieve = None
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
        for feed in tuple(self._feeds.values()):
            feed.gathered.clear()
            if feed.sieve is not None:
                feed.sieve.clear()
            self._tell(feed, list(feed.watchers), reset=True)

    def _tell(self, feed: _Feed, which: Iterable[Filter | None], *, reset: bool) -> None:
        for only in which:
            for connection in tuple(feed.watchers.get(only, ())):
                if connection.session is not None:
                    connection.session.feed_on(only, reset=reset)
                    self._serve(connection)

    def _flush(self, channel: str, feed: _Feed) -> None:
        loop = asyncio.get_running_loop()
        feed.timer = None
        changes = feed.gathered.take(loop.time())
        if None in feed.watchers:
            self._pass_on(feed, None, (text for _, _, text in changes))
        if feed.sieve is not None:
            if not feed.sieve.put(changes):
                log.warning("too many changes waited for somebody who knows their tasks", tenant=feed.tenant)
                self._tell(feed, feed.filters, reset=True)
            self._sift(feed)
        if feed.gathered.waiting and self._feeds.get(channel) is feed:
            feed.timer = loop.call_later(PROGRESS_EVERY_S / 4, self._flush, channel, feed)

    def _sift(self, feed: _Feed) -> None:
        """Tell those with filters what is known to be theirs; see that the rest gets known."""
        if feed.sieve is None:
            return
        for only, texts in feed.sieve.take().items():
            self._pass_on(feed, only, texts)
        if feed.sieve.stuck:
            self._unknown.set()

    def _pass_on(self, feed: _Feed, only: Filter | None, texts: Iterable[bytes]) -> None:
        now = asyncio.get_running_loop().time()
        for changes in lists_of(texts):
            for connection in tuple(feed.watchers.get(only, ())):
                if connection.session is not None:
                    connection.session.changes(only, changes, now)
                    self._serve(connection)
