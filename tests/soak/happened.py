"""What a soak notes of each fault: from when to when, and which workers it hit. Times are seconds of the day."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

LOSSES: Final = {
    "worker killed": "killed",
    "worker paused past its lease": "paused",
    "worker cut off": "cut off",
}
"""Faults that take a worker from its tasks, and what became of the worker."""
POSTGRES_AWAY: Final = frozenset({"postgres killed", "postgres restarted"})
"""Faults during which no worker reaches Postgres. (Workers have lines of their own past the proxy of the others.)"""
NOBODY_LEFT: Final = POSTGRES_AWAY | {"worker rolling restart"}
"""Faults during which there may be nobody to take a task over: a worker that starts takes seconds to be there."""


class Hit(NamedTuple):
    """A worker that was hit: its number, its process then (0: it had none), and when."""

    worker: int
    pid: int
    at: float


@dataclass(slots=True)
class Happened:
    """One fault. `mended`: when its cause was gone (infinite: not yet), which says nothing of who has recovered."""

    name: str
    began: float
    mended: float = math.inf
    hits: list[Hit] = field(default_factory=list)

    def meets(self, since: float, until: float) -> bool:
        """Whether it was there at any moment between two others."""
        return self.began < until and self.mended > since

    def __str__(self) -> str:
        who = ", ".join(str(worker) for worker in sorted({hit.worker for hit in self.hits}))
        return f"{self.name} ({who})" if who else self.name


def of_day(seconds: float) -> str:
    """Return a second of the day as logs write it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S.%f")[:-3]
