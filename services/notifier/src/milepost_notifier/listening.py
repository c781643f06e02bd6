"""One client's interest in feeds: what it is told of all tasks of its tenant."""

from milepost.domain.feed_filter import Filter
from milepost.runtime.metrics.catalogue import RESETS
from milepost_notifier.outbox import Outbox
from milepost_notifier.tally import TALLY


class _Feed:
    __slots__ = ("live", "missed", "only")

    def __init__(self, only: Filter | None) -> None:
        self.only = only
        """Which tasks it is about; None for all."""
        self.live = False
        self.missed = False
        """Changes were left out because the client is slow, and it does not know yet."""


class Listening:
    """The feeds of a session, by the numbers the client gave them; what they say goes into its outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._feeds: dict[int, _Feed] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._feeds

    def __len__(self) -> int:
        return len(self._feeds)

    def waits(self, number: int) -> bool:
        """Return whether this one is not on yet."""
        feed = self._feeds.get(number)
        return feed is not None and not feed.live

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all."""
        return tuple(self._feeds)

    def only(self, number: int) -> Filter | None:
        """Return which tasks a feed is about; None for all."""
        return self._feeds[number].only

    def add(self, number: int, only: Filter | None) -> None:
        """Take a subscription; it says nothing before `on`."""
        self._feeds[number] = _Feed(only)

    def remove(self, number: int) -> set[Filter | None]:
        """Drop one; return what nobody listens to any more."""
        feed = self._feeds.pop(number, None)
        return {feed.only} - self._kinds() if feed is not None else set()

    def clear(self) -> set[Filter | None]:
        """Drop all; return what was listened to."""
        kinds = self._kinds()
        self._feeds.clear()
        return kinds

    def on(self, only: Filter | None, *, reset: bool) -> None:
        """Say to those who wait for it that they hear everything from now on; `reset`: to all, something was missed."""
        for number, feed in self._feeds.items():
            if feed.only == only and (reset or not feed.live):
                self._say_live(number, feed, reset=reset and feed.live)

    def changes(self, only: Filter | None, changes: bytes, *, lagging: bool) -> None:
        """Tell what happened (a JSON list); a client that lags is told later that it missed something."""
        for number, feed in self._feeds.items():
            if not feed.live or feed.only != only:
                continue
            if feed.missed or lagging:
                feed.missed = True
                TALLY.dropped += 1
            else:
                self._outbox.put(b'{"t":"changes","id":%d,"changes":%b}' % (number, changes))

    def make_up(self) -> None:
        """Say to a client that was slow, and is not now, what it missed: read the list again."""
        for number, feed in self._feeds.items():
            if feed.missed:
                self._say_live(number, feed, reset=True)

    def _kinds(self) -> set[Filter | None]:
        return {feed.only for feed in self._feeds.values()}

    def _say_live(self, number: int, feed: _Feed, *, reset: bool) -> None:
        feed.live, feed.missed = True, False
        RESETS.add(reset)
        self._outbox.put(b'{"t":"live","id":%d%b}' % (number, b',"reset":true' if reset else b""))
