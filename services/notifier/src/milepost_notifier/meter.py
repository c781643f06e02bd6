"""What is read of a notifier's clients, and how late events are."""

import math
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from milepost.runtime.metrics import catalogue
from milepost_notifier.peer import Peer
from milepost_notifier.tally import reason_of
from milepost_schemas.event import Event
from milepost_schemas.frames import CloseCode

LOOKED_AT: Final = 64
"""So many events of a batch are looked at, each for as many as there are from one to the next."""


def begin() -> None:
    """Have every series there is from the start: the first of something is an increase only from a 0."""
    for code in CloseCode:
        catalogue.CLOSED.at(reason_of(code))


def show_clients(peers: Iterable[Peer]) -> None:
    """Set the gauges of who is connected and what they watch."""
    transports = {"websocket": 0, "sse": 0}
    tasks = feeds = lagging = 0
    for peer in peers:
        transports[peer.transport_name] += 1
        if (session := peer.session) is not None:
            tasks += session.tasks
            feeds += session.feeds
            lagging += session.lagging
    for name, number in transports.items():
        catalogue.CONNECTIONS.set(number, name)
    catalogue.SUBSCRIPTIONS.set(tasks, "task")
    catalogue.SUBSCRIPTIONS.set(feeds, "feed")
    catalogue.LAGGING.set(lagging)


class Lateness:
    """How late the events of one batch are: of a large one some are looked at, and count for all."""

    def __init__(self, events: int) -> None:
        """`events`: how many there may be."""
        self._every = max(1, math.ceil(events / LOOKED_AT))
        self._seen: list[tuple[datetime, str | None]] = []
        self._count = 0

    def noting(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on."""
        count, every = 0, self._every
        for event in events:
            if count % every == 0:
                self._seen.append((event.time, event.traceparent))
            count += 1
            yield event
        self._count = count

    def observe(self) -> float | None:
        """Observe them all as in Redis now; return when the first happened, in seconds since 1970; None: none."""
        if not self._seen:
            return None
        now = time.time()
        bins = catalogue.EVENT_LAG.at()
        left = self._count
        for happened, traceparent in self._seen:
            times = min(self._every, left)
            bins.observe(max(0.0, now - happened.timestamp()), traceparent, times)
            left -= times
        catalogue.EVENTS.add(self._count)
        return self._seen[0][0].timestamp()
