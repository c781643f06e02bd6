"""How many workers Kubernetes would run: what its HorizontalPodAutoscaler makes of the value KEDA hands it. Pure.

Of a metric with an average value as its target; the rules of scaling up are its defaults, which the chart keeps.
"""

import math
from collections import deque
from typing import Final

TOLERANCE: Final = 0.1
"""Off by less than this part: nothing is changed."""
UP_TIMES: Final = 2
UP_BY: Final = 4
"""In one step it becomes twice as many, or four more, whichever is more."""


class Scaler:
    """Decides; ask it as often as Kubernetes does.

    `threshold`: slots one worker should use. Between `least` and `most` workers. It goes down no further than to the
    most that was wanted in the last `stabilization_s` seconds.
    """

    def __init__(self, threshold: float, least: int, most: int, stabilization_s: float) -> None:
        self._threshold = threshold
        self._least = least
        self._most = most
        self._stabilization_s = stabilization_s
        self._wanted: deque[tuple[float, int]] = deque()

    def decide(self, slots: float, workers: int, now: float) -> int:
        """Return how many workers there should be, where `workers` are and so many slots are wanted."""
        wanted = workers
        if workers == 0 or abs(slots / (self._threshold * workers) - 1) > TOLERANCE:
            wanted = math.ceil(slots / self._threshold)
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self._stabilization_s:
            self._wanted.popleft()
        if wanted < workers:
            wanted = min(workers, max(each for _, each in self._wanted))
        wanted = min(wanted, max(workers * UP_TIMES, workers + UP_BY))
        return max(self._least, min(self._most, wanted))
