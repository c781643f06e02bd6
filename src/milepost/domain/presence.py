"""When a worker counts as dead: its presence lock was free at two passes in a row."""

from collections.abc import Iterable
from uuid import UUID

APART_S = 0.7
"""Passes closer together than this count as one: a worker that lost only its connection takes the lock again at once,
and has at least so long for it."""


class Absences:
    """What one sweeper remembers of workers that should hold their lock and did not."""

    def __init__(self) -> None:
        self._since: dict[UUID, float] = {}

    def observe(self, absent: Iterable[UUID], now: float) -> list[UUID]:
        """Take in one pass; return the workers that count as dead by now. `now` is seconds by any steady clock.

        A worker that was there in between starts anew. A dead one stays in the answer for as long as it is absent: a
        claim it had sent before it died may still be committed after the first look.
        """
        self._since = {worker: self._since.get(worker, now) for worker in absent}
        return [worker for worker, since in self._since.items() if now - since >= APART_S]
