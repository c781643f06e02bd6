"""Logging more, or less, for a while: an operator says so in Postgres, and every process looks there."""

import asyncio
import time
from typing import Final, NamedTuple, Protocol

from milepost.errors import Unavailable
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger, set_level

LOOK_S: Final = 1.0

log = get_logger("milepost.loglevels")


class Other(NamedTuple):
    """A level that is not that of the settings, and for how many seconds more."""

    level: str
    left_s: float


class LevelSource(Protocol):
    """Where levels are kept."""

    async def level_of(self, service: str) -> Other | None:
        """Return what a service logs from now; None: as its settings say. Raises Unavailable."""
        ...


class LogLevel:
    """That of this process. It ends by itself, also while Postgres is away."""

    def __init__(self, source: LevelSource, service: str) -> None:
        self._source = source
        self._service = service
        self._level: str | None = None
        self._until = 0.0

    async def follow(self) -> None:
        """Look every second, until cancelled."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.debug("what to log from was not looked up", error=str(error))
                if self._level is not None and time.monotonic() >= self._until:
                    self._take(None)
            await asyncio.sleep(jittered(0, base=LOOK_S, cap=LOOK_S * 1.2))

    async def look(self) -> None:
        """Do as Postgres says. Raises Unavailable."""
        self._take(await self._source.level_of(self._service))

    def _take(self, other: Other | None) -> None:
        level = None if other is None else other.level
        if other is not None:
            self._until = time.monotonic() + other.left_s
        if level == self._level:
            return
        self._level = level
        set_level(level)
        # At a level that is always logged: who reads wants to know why there are more lines, or fewer.
        if other is None:
            log.error("logging as the settings say again")
        else:
            log.error("logging from another level for a while", from_level=level, seconds=round(other.left_s))
