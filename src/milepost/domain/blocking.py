"""When a loop counts as blocked, and what follows: decisions only, the clock is passed in."""

from enum import Enum

NAMED_AFTER_S = 2.0
"""A loop that has not turned for so long is blocked: whoever blocks it is named."""
LEFT_AFTER_S = 5.0
"""So long after its task was given up a loop that still does not turn ends its process."""


class Step(Enum):
    """What is to be done about a blocked loop, each once in an episode and in this order."""

    NAME = "name"
    GIVE_UP = "give up"
    END = "end"


class LoopWatch:
    """Watches a loop by asking it again and again for an answer.

    `tick_s`: how often it is looked at. A look that comes much later than that means that the looker stood still as
    well (the process was stopped, the machine slept); that time is nobody's fault and does not count.
    """

    def __init__(self, tick_s: float, now: float) -> None:
        self._tick = tick_s
        self._looked = now
        self._asked: float | None = None
        self._done: Step | None = None
        self._gave_up: float | None = None

    def answered(self) -> None:
        """The loop turned."""
        self._asked = None

    def asks(self, now: float) -> bool:
        """Whether the loop is to be asked anew: it answered what it was asked before."""
        if self._asked is not None:
            return False
        self._asked, self._done, self._gave_up = now, None, None
        return True

    def blocked_s(self, now: float) -> float:
        """Return seconds since the loop was asked; 0 when it has answered."""
        asked = self._asked
        return 0.0 if asked is None else now - asked

    def look(self, now: float, limit_s: float, end_s: float) -> Step | None:
        """Return what is to be done now; None: nothing, or nothing more.

        `limit_s` is how long the loop may be blocked before the task that does it is given up. The process ends
        `LEFT_AFTER_S` after that, but not before `end_s`.
        """
        late = now - self._looked - self._tick
        self._looked = now
        if late > 4 * self._tick and self._asked is not None:
            self._asked = min(now, self._asked + late)
            if self._gave_up is not None:
                self._gave_up = min(now, self._gave_up + late)
        for_s = self.blocked_s(now)
        if self._done is None and for_s >= min(NAMED_AFTER_S, limit_s):
            self._done = Step.NAME
            return Step.NAME
        if self._done is Step.NAME and for_s >= limit_s:
            self._done, self._gave_up = Step.GIVE_UP, now
            return Step.GIVE_UP
        if self._gave_up is not None and now - self._gave_up >= LEFT_AFTER_S and for_s >= end_s:
            self._done, self._gave_up = Step.END, None
            return Step.END
        return None
