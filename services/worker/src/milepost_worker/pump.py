"""Sends what attempts have to tell, many together, a moment after it happened."""

import asyncio
from typing import Final

from milepost_worker.attempt import Attempt
from milepost_worker.trail import TOGETHER_S

EVERY_S: Final = 0.02


class Pump:
    """Looks at those attempts only that began, or told something, since it looked: most of what runs is silent."""

    def __init__(self) -> None:
        self._telling: dict[Attempt, None] = {}

    def add(self, attempt: Attempt) -> None:
        """Look at an attempt until it has nothing more to tell. On the loop."""
        self._telling[attempt] = None

    async def run(self) -> None:
        """Pump until cancelled, at most every 20 ms: what happens closer together goes together."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EVERY_S)
            self._pump_all(loop.time())

    def _pump_all(self, now: float) -> None:
        for attempt in list(self._telling):
            if not self._pump(attempt, now):
                del self._telling[attempt]

    @staticmethod
    def _pump(attempt: Attempt, now: float) -> bool:
        """Send what waits; return whether to look again."""
        if attempt.ending:
            return not attempt.settling
        attempt.gather(now)
        if attempt.trail.behind and now - attempt.running_since > TOGETHER_S:
            attempt.trail.flush()
        return attempt.telling
