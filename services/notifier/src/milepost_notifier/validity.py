"""For how long a client's token is good. No clock: time is passed in, in seconds."""

import math
from typing import Final

REFRESH_S: Final = 60.0
"""A client is asked for another token so long before; at once if less is left."""


class Validity:
    """Of one token, from when it was taken. `lasts` is None for a key, which does not expire."""

    def __init__(self, lasts: float | None, now: float) -> None:
        self._until = None if lasts is None else now + lasts
        self._asked = False

    def left(self, now: float) -> float | None:
        """Return how much longer it is good, 0 at least; None for ever."""
        return None if self._until is None else max(self._until - now, 0.0)

    @property
    def due(self) -> float:
        """When something about it happens next: another is asked for, or it is over."""
        if self._until is None:
            return math.inf
        return self._until if self._asked else self._until - REFRESH_S

    def over(self, now: float) -> bool:
        """Whether it has expired."""
        return self._until is not None and now >= self._until

    def ask(self, now: float) -> bool:
        """Whether the time has come to ask for another token; says so once."""
        if self._asked or self._until is None or now < self._until - REFRESH_S:
            return False
        self._asked = True
        return True
