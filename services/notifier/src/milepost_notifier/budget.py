"""How many frames a client may send. No clock: time is passed in, in seconds."""


class Budget:
    """`rate` frames a second, and up to `burst` at once after a quiet time."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one; return whether there was one to take."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
