"""One client's interest in feeds: what it is told of all tasks of its tenant."""

from milepost_notifier.outbox import Outbox


class _Feed:
    __slots__ = ("live", "missed")

    def __init__(self) -> None:
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

    def add(self, number: int) -> None:
        """Take a subscription; it says nothing before `on`."""
        self._feeds[number] = _Feed()

    def remove(self, number: int) -> bool:
        """Drop one; return whether it was there and no other is left."""
        return self._feeds.pop(number, None) is not None and not self._feeds

    def clear(self) -> bool:
        """Drop all; return whether there were any."""
        some = bool(self._feeds)
        self._feeds.clear()
        return some

    def on(self, *, reset: bool) -> None:
        """Say to those who wait for it that they hear everything from now on; `reset`: to all, something was missed."""
        for number, feed in self._feeds.items():
            if reset or not feed.live:
                self._say_live(number, feed, reset=reset and feed.live)

    def changes(self, changes: bytes, *, lagging: bool) -> None:
        """Tell what happened (a JSON list); a client that lags is told later that it missed something."""
        for number, feed in self._feeds.items():
            if not feed.live:
                continue
            if feed.missed or lagging:
                feed.missed = True
            else:
                self._outbox.put(b'{"t":"changes","id":%d,"changes":%b}' % (number, changes))

    def make_up(self) -> None:
        """Say to a client that was slow, and is not now, what it missed: read the list again."""
        for number, feed in self._feeds.items():
            if feed.missed:
                self._say_live(number, feed, reset=True)

    def _say_live(self, number: int, feed: _Feed, *, reset: bool) -> None:
        feed.live, feed.missed = True, False
        self._outbox.put(b'{"t":"live","id":%d%b}' % (number, b',"reset":true' if reset else b""))
