"""What the scripts in Redis do, in Python. tests/integration/notifier holds it against the real ones."""

from dataclasses import dataclass, field
from typing import Any

from milepost_schemas.event import EventKind
from milepost_schemas.position import Position

WHOLE = frozenset({"id", "type", "queue", "state", "attempt", "max_attempts", "root_id", "created_at"})


def follows(at: Position, merged: int, before: Position) -> bool:
    """Return whether no event can lie between the two, going by their numbers."""
    numbers = {(at.epoch, at.seq - n) for n in range(merged + 1)}
    return bool(numbers & {(before.epoch, before.seq + 1), (before.epoch + 1, 0)})


@dataclass
class Remembered:
    """One task in Redis."""

    at: Position | None = None
    lifecycle: Position = field(default_factory=lambda: Position(-1, -1))
    progress: Position = field(default_factory=lambda: Position(-1, -1))
    task: dict[str, Any] = field(default_factory=dict)
    base: bool = False
    gap: Position | None = None

    @property
    def complete(self) -> bool:
        """Whether nobody has to be asked about the task."""
        return self.base and self.gap is None

    def apply(self, at: Position, kind: EventKind, data: dict[str, Any], merged: int = 0) -> bool:
        """Do what apply.lua does; return whether it was news."""
        patch = {**data, "epoch": at.epoch} if kind.patches else {}
        lifecycle = kind.patches and not (kind is EventKind.PROGRESS and data.keys() <= {"progress", "epoch"})
        base = lifecycle and data.keys() >= WHOLE
        if self.at is not None and at <= self.at:
            if base and not self.base:
                self.task = {**patch, **self.task}
                self.base = True
            return False
        first = self.at is None and (at.epoch, at.seq - merged) == (1, 0)
        if base:
            self.base, self.gap = True, None
        elif not first and not (self.at is not None and follows(at, merged, self.at)):
            self.gap = at
        self.task |= patch
        self.at = at
        if lifecycle:
            self.lifecycle = at
        elif patch:
            self.progress = at
        return True

    def seed(self, task: dict[str, Any], at: Position) -> bool:
        """Do what seed.lua does; return whether the position moved forward."""
        if self.at is None or at > self.at:
            self.at = self.lifecycle = at
            self.progress = Position(-1, -1)
            self.task, self.base, self.gap = dict(task), True, None
            return True
        wins = at >= self.lifecycle
        for name, value in task.items():
            taken = wins and name != "epoch" and (name != "progress" or at >= self.progress)
            if taken or name not in self.task:
                self.task[name] = value
        self.base = True
        if wins and self.gap is not None and at >= self.gap:
            self.gap = None
        return False
