"""Tasks that clients here watch, and who watches each."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from milepost.live import Channels, LiveEvent
from milepost.live.channels import Message
from milepost.live.snapshots import key_of
from milepost.live.wire import child_of, parse
from milepost.runtime.logs import get_logger
from milepost_notifier.peer import Peer
from milepost_notifier.resolver import Key
from milepost_notifier.spans import Frames

log = get_logger("milepost.notifier.watching")

WRITE_AT: Final = 32 * 1024
"""Events of one wake-up go out together, unless they are more than this: a burst alone makes nobody slow."""


class Watched:
    """A task that clients here watch."""

    __slots__ = ("key", "news_at", "text", "watchers")

    def __init__(self, key: Key, now: float) -> None:
        self.key = key
        self.text = str(key[1]).encode()
        self.watchers: dict[Peer, None] = {}
        self.news_at = now


class Watching:
    """Who watches what, by channel.

    Fan-out runs from the bytes of Redis to the transports of clients in one go, without a wait and without a task
    or queue for each client beyond what the library has.
    """

    def __init__(
        self, channels: Channels, serve: Callable[[Peer], None], others: Callable[[str, bytes], object], *, traced: bool
    ) -> None:
        """`others` takes what comes by a channel of no task (name, message). `traced`: spans are exported."""
        self._channels = channels
        self._serve = serve
        self._others = others
        self._traced = traced
        self._watched: dict[str, Watched] = {}

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def channels(self) -> frozenset[str]:
        """Names of those that tell of a watched task."""
        return frozenset(self._watched)

    def all(self) -> list[Watched]:
        """Return each task that is watched now."""
        return list(self._watched.values())

    def add(self, key: Key, connection: Peer, now: float) -> None:
        """Have a client watch a task."""
        watched = self._watched.setdefault(key_of(*key), Watched(key, now))
        watched.watchers[connection] = None

    def remove(self, key: Key, connection: Peer) -> None:
        """Have a client watch a task no more; nobody else: its channel is left."""
        channel = key_of(*key)
        watched = self._watched.get(channel)
        if watched is not None:
            watched.watchers.pop(connection, None)
            if not watched.watchers:
                del self._watched[channel]
                self._channels.leave(channel)

    def tell(self, messages: Sequence[Message]) -> None:
        """Pass on what came from Redis, and write to everybody it concerns."""
        now = asyncio.get_running_loop().time()
        concerned: dict[Peer, None] = {}
        frames = Frames() if self._traced else None
        for channel, message, kept in messages:
            name = channel.decode()
            watched = self._watched.get(name)
            if watched is None:
                self._others(name, message)
                continue
            told = child_of(message)
            try:
                child = UUID(told[0].decode()) if told is not None else None
                event = parse(*(told or (watched.text, message)))
            except ValueError:
                log.warning("a message that the ingest did not write was left out", channel=name)
                continue
            if child is None:
                event.whole = event.whole and kept  # else it is no answer to a look-up: later ones may be missed
                watched.news_at = now
                if frames is not None:
                    frames.add(event, watched.key[0], len(watched.watchers))
            self._to_watchers(watched, child, event, now, concerned)
        for connection in concerned:
            self._serve(connection)
        if frames is not None:
            frames.sent()

    @staticmethod
    def _to_watchers(
        watched: Watched, child: UUID | None, event: LiveEvent, now: float, concerned: dict[Peer, None]
    ) -> None:
        task: UUID = watched.key[1]
        for connection in watched.watchers:
            session = connection.session
            if session is not None:
                if child is None:
                    session.event(task, event, now)
                else:
                    session.child(task, child, event, now)
                concerned[connection] = None
                if session.outbox.size > WRITE_AT:
                    connection.write_out()
