"""Sends what attempts have to tell, many together, a moment after it happened."""

import asyncio
from typing import Final

from milepost_worker.voice import Voice

EVERY_S: Final = 0.02


class Pump:
    """Looks at those voices only that began, or said something, since it looked: most of what runs is silent."""

    def __init__(self) -> None:
        self._waiting: dict[Voice, None] = {}

    def add(self, voice: Voice) -> None:
        """Look at a voice until it has nothing more to send. On the loop."""
        self._waiting[voice] = None

    async def run(self) -> None:
        """Pump until cancelled, at most every 20 ms: what happens closer together goes together."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EVERY_S)
            self._pump(loop.time())

    def _pump(self, now: float) -> None:
        for voice in list(self._waiting):
            if not voice.send(now):
                del self._waiting[voice]
