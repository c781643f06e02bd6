"""When a worker counts as dead for others, and until when one that may count so lets its handlers go on."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

ABSENT_S = 1.75
"""A worker is dead when its presence lock was free at two looks so far apart, and it said nothing in between."""
BACK_WITHIN_S = 1.0
"""A worker that lost its lock has so long to take it again; then its handlers are told to stop."""
GONE_WITHIN_S = 1.35
"""So long after the loss what can be ended is ended. The rest of ABSENT_S is for a machine that is slow at it."""


class Sighting(NamedTuple):
    """A worker, and when it last said something, by the database's clock."""

    worker: UUID
    at: datetime


class Absences:
    """What one sweeper remembers of workers that should hold their lock and did not. Times are by one steady clock."""

    def __init__(self) -> None:
        self._since: dict[Sighting, float] = {}

    def observe(self, absent: Iterable[Sighting], asked: float, answered: float) -> list[Sighting]:
        """Take in one look, which took from `asked` to `answered`; return the workers that count as dead by now.

        A lock may have become free right before a look, so a worker has ABSENT_S at least, and no more is counted than
        what surely lay between the looks. A worker that was there in between starts anew, also one that only said
        something: one that loses its connection says so by another, and two looks may each meet a short absence. A
        dead one stays in the answer for as long as it is absent: a claim it had sent before it died may still be
        committed after the first look.
        """
        self._since = {sighting: self._since.get(sighting, answered) for sighting in absent}
        return [sighting for sighting, since in self._since.items() if asked - since >= ABSENT_S]

    def next_at(self, now: float) -> float | None:
        """Return when the next worker may count as dead, unless it comes back; None: there is none such."""
        return min((since + ABSENT_S for since in self._since.values() if since + ABSENT_S > now), default=None)


class Absence:
    """What a worker knows of its own lock: since when others may find it free, and so until when handlers may go on.

    It is counted only while Postgres may be there for others: one that is gone takes all locks with it, and those of
    before are not missed when it is back. Times are by one steady clock.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def lost(self, now: float) -> None:
        """The lock was held until now."""
        if self._since is None:
            self._since = now

    def no_server(self, asked: float, *, gone: bool) -> None:
        """Postgres was not there for anybody when it was asked. `gone`: its process was not even there to say so."""
        if self._since is not None:
            self._since = None if gone else max(self._since, asked)

    def over(self) -> None:
        """The lock is held, or Postgres was told that it is not."""
        self._since = None

    def back_by(self) -> float | None:
        """Return when handlers are to be told to stop; None: others do not miss the lock."""
        return None if self._since is None else self._since + BACK_WITHIN_S

    def gone_by(self) -> float | None:
        """Return when handlers are to be gone; None: others do not miss the lock."""
        return None if self._since is None else self._since + GONE_WITHIN_S
