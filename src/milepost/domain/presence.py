"""When a worker counts as dead: its presence lock was free at two passes in a row."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

APART_S = 0.7
"""Passes closer together than this count as one: a worker that lost only its connection takes the lock again at once,
and has at least so long for it."""


class Sighting(NamedTuple):
    """A worker, and when it last said something, by the database's clock."""

    worker: UUID
    at: datetime


class Absences:
    """What one sweeper remembers of workers that should hold their lock and did not."""

    def __init__(self) -> None:
        self._since: dict[Sighting, float] = {}

    def observe(self, absent: Iterable[Sighting], now: float) -> list[UUID]:
        """Take in one pass; return the workers that count as dead by now. `now` is seconds by any steady clock.

        A worker that was there in between starts anew, also one that only said something: a worker that loses its
        connection says so by another, and two passes may each meet a short absence of one that lives. A dead one stays
        in the answer for as long as it is absent: a claim it had sent before it died may still be committed after the
        first look.
        """
        self._since = {sighting: self._since.get(sighting, now) for sighting in absent}
        return [sighting.worker for sighting, since in self._since.items() if now - since >= APART_S]
