"""How fast a task gets on, and when it will be done."""

from dataclasses import dataclass, field

HALF_LIFE_S = 5.0
"""The rate forgets: what happened so long ago counts half."""


@dataclass(slots=True)
class RateMeter:
    """Units a second, as a mean that forgets, robust to bursts: weight goes by time, not by number of updates."""

    rate: float | None = None
    _done: float | None = field(default=None)
    _at: float = 0.0

    def update(self, done: float, now: float) -> float | None:
        """Take `done` units at monotonic time `now`; return units a second, None while nothing can be said.

        A count that falls starts the measurement anew.
        """
        if self._done is None or done < self._done:
            self.rate, self._done, self._at = None, done, now
            return None
        elapsed = now - self._at
        if elapsed < 0.05:
            # Too close to the last one to divide by: it counts with the next.
            return self.rate
        current = (done - self._done) / elapsed
        if self.rate is None:
            self.rate = current
        else:
            weight = 1.0 - 0.5 ** (elapsed / HALF_LIFE_S)
            self.rate += weight * (current - self.rate)
        self._done, self._at = done, now
        return self.rate

    def eta(self, done: float, total: float | None) -> float | None:
        """Return seconds until `total` at the present rate; None when unknown."""
        if total is None or not self.rate or self.rate <= 0 or done > total:
            return None
        return (total - done) / self.rate
