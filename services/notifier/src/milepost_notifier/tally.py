"""What a notifier counts, of which there may be ten thousand a second: plain numbers, added up when they are read."""

from milepost.runtime.metrics import catalogue
from milepost_schemas.frames import CloseCode


class Tally:
    """Numbers since they were last read. One for all sessions of the process, as metrics are the process's."""

    __slots__ = ("bytes", "coalesced", "dropped", "events", "others", "snapshots")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin at 0."""
        self.events = self.snapshots = self.others = self.bytes = self.coalesced = self.dropped = 0

    def read(self) -> None:
        """Add what was counted to the metrics."""
        catalogue.FRAMES.add(self.events, "event")
        catalogue.FRAMES.add(self.snapshots, "snapshot")
        catalogue.FRAMES.add(self.others, "other")
        catalogue.FRAME_BYTES.add(self.bytes)
        catalogue.COALESCED.add(self.coalesced)
        catalogue.DROPPED.add(self.dropped)
        self.clear()


TALLY = Tally()


def closed(code: CloseCode) -> None:
    """Count a session that ends by our will."""
    catalogue.CLOSED.add(1, reason_of(code))


def reason_of(code: CloseCode) -> str:
    """Return the label of a close code."""
    return code.text.replace(" ", "_")
