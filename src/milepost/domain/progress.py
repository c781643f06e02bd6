"""How fast a task gets on, when it will be done, and when it has been silent for long."""

import math
from dataclasses import dataclass, field
from typing import Final

HALF_LIFE_S: Final = 5.0
"""The rate forgets: what happened so long ago counts half."""
SPAN_S: Final = 0.5
"""Nothing is said of less time than this: a burst is no rate."""
TOGETHER_S: Final = 0.05
"""Updates closer together count as one: there is nothing to divide by."""
SILENT_S: Final = 15.0
"""After so long without news of a running task people are told that there is none."""

_TAU: Final = HALF_LIFE_S / math.log(2)


@dataclass(slots=True)
class RateMeter:
    """Units a second: done over time, both of which fade, so that weight goes by time and never by number of updates.

    A silence counts for its whole length as soon as something ends it, so a burst that was followed by one shows as
    what it was: little, all in all.
    """

    _done: float | None = field(default=None)
    _at: float = 0.0
    _began: float = 0.0
    _units: float = 0.0
    _time: float = 0.0

    @property
    def rate(self) -> float | None:
        """Units a second; None while nothing can be said."""
        if self._time <= 0 or self._at - self._began < SPAN_S:
            return None
        rate = self._units / self._time
        return rate if math.isfinite(rate) else None

    def update(self, done: float, now: float) -> float | None:
        """Take `done` units at monotonic time `now`; return the rate.

        A count that falls starts the measurement anew.
        """
        if self._done is None or done < self._done:
            self._done, self._at, self._began, self._units, self._time = done, now, now, 0.0, 0.0
            return None
        elapsed = now - self._at
        if elapsed < TOGETHER_S:
            return self.rate  # it counts with the next
        kept = 0.5 ** (elapsed / HALF_LIFE_S)
        weight = _TAU * (1.0 - kept)
        # As if it had been done evenly since the last update.
        self._units = self._units * kept + (done - self._done) * (weight / elapsed)
        self._time = self._time * kept + weight
        self._done, self._at = done, now
        return self.rate

    def eta(self, done: float, total: float | None, now: float | None = None) -> float | None:
        """Return seconds until `total` at the rate there is at `now` (None: at that of the last update).

        None when unknown: there is no total, more than it is done, or nothing gets done. In a silence time goes by and
        nothing is done, so it grows.
        """
        rate = self.rate
        if rate is None or total is None or done > total:
            return None
        if done == total:
            return 0.0
        if now is not None and now > self._at:
            kept = 0.5 ** ((now - self._at) / HALF_LIFE_S)
            rate = self._units * kept / (self._time * kept + _TAU * (1.0 - kept))
        seconds = (total - done) / rate if rate > 0 else math.inf
        return seconds if math.isfinite(seconds) else None


def left_now(eta: float | None, silence: float) -> float | None:
    """Return what is left of an ETA that was told `silence` seconds ago; None once it says nothing any more.

    It counts down. When a task was to get on all the while and nothing came for long, or when the time has come and
    it is not done, nobody knows.
    """
    if eta is None or silence >= max(eta, SILENT_S) or silence > max(SILENT_S, eta / 2):
        return None
    return max(0.0, eta - max(0.0, silence))
