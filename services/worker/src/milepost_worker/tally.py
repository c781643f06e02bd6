"""How many tasks ended here of late, of which queue and tenant."""

import time
from collections import Counter
from typing import Final

import orjson

SHOWN: Final = 1_000
"""Pairs of queue and tenant a beat tells of: those of which most ended."""


class Tally:
    """Counts ends between two beats."""

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, str]] = Counter()
        self._since = time.monotonic()

    def add(self, queue: str, tenant: str) -> None:
        """Count one."""
        self._ended[queue, tenant] += 1

    def rates(self) -> str | None:
        """Return ends a second since this was last asked, as JSON: {queue: {tenant: rate}}; None if there were none."""
        now = time.monotonic()
        seconds, self._since = max(now - self._since, 0.001), now
        ended, self._ended = self._ended, Counter()
        rates: dict[str, dict[str, float]] = {}
        for (queue, tenant), count in ended.most_common(SHOWN):
            rates.setdefault(queue, {})[tenant] = round(count / seconds, 3)
        return orjson.dumps(rates).decode() if rates else None
