"""What a watch yields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from milepost_schemas.position import Position
from milepost_schemas.task import Task, TaskState

SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class RunEvent:
    """One thing that happened to a task, and the task as it is after it.

    `kind` is one of `EventKind`, or "snapshot" for the whole task as it stands: at the start of a watch, and where
    events were skipped. The last event of a watch has a terminal kind, also when the task was over before. `merged`
    earlier events were folded into this one. `at` orders events of a task.
    """

    kind: str
    at: Position
    view: dict[str, Any] = field(repr=False)
    data: dict[str, Any] = field(default_factory=dict)
    merged: int = 0
    traceparent: str | None = None
    age: float | None = None
    """Of a snapshot: seconds from the task's last event to when this came; None if nobody knows. Of an event: 0."""

    @cached_property
    def task(self) -> Task:
        """The task after this event."""
        return Task.model_validate(self.view)

    @property
    def last(self) -> bool:
        """Whether the task is over."""
        return self.kind in _TERMINAL


_TERMINAL = frozenset(state.value for state in TaskState if state.terminal)


def is_over(view: Mapping[str, Any]) -> bool:
    """Whether a task as the API shows it is in a terminal state."""
    return view.get("state") in _TERMINAL
