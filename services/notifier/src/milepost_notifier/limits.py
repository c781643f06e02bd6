"""What one client may ask for and hold up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds, sizes in bytes."""

    hello: float = 5.0
    """The first frame has to come within this."""
    ping: float = 25.0
    """The server asks this often, and waits as long for the answer."""
    subs: int = 1_000
    """Subscriptions of one connection."""
    frames: float = 100.0
    """Frames a second a client may send, parts of messages and control frames included."""
    renewals: int = 10
    """Tokens a client may show in a row; after that one every second."""
    members: int = 1_000
    """Descendants of which one subscription tells, those that ended meanwhile included."""
    all_members: int = 10_000
    """The same for all subscriptions of one connection."""
    soft: int = 256 * 1024
    """More than this waiting to be sent: snapshots instead of events."""
    tail: int = 128 * 1024
    """Streamed events that go with one snapshot."""
    hard: int = 1024 * 1024
    """More than this for `patience`: closed with 4002."""
    patience: float = 20.0
    cap: int = 8 * 1024 * 1024
    """More than this: closed with 4002 at once."""
    snap_every: float = 1.0
    """Snapshots in place of events come no more often than this."""
    buffer: int = 256 * 1024
    """Events kept for one subscription while its snapshot is read."""

    @property
    def burst(self) -> int:
        """Frames a client may send at once: to leave and take all its subscriptions, and some more."""
        return 2 * self.subs + 200
