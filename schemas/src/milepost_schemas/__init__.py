"""Everything that crosses a process boundary in Milepost: the contracts, and nothing else.

Models are grouped by the boundary they cross: HTTP (`task`, `problem`, `worker`), Kafka (`dispatch`, `event`,
`completion`, `control`, in the `cloudevents` binding) and WebSocket (`frames`). JSON Schemas of all of them stand
in `schemas/published`, written by `python -m milepost_schemas`.
"""

from milepost_schemas.completion import Completion
from milepost_schemas.control import CancelRequest
from milepost_schemas.deadletter import (
    Attempt,
    AttemptList,
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    DeadLetterGroups,
    DeadLetterPage,
    Replayed,
    ReplayRequest,
)
from milepost_schemas.dispatch import Dispatch
from milepost_schemas.event import Event, EventKind
from milepost_schemas.position import Position
from milepost_schemas.problem import Problem
from milepost_schemas.task import Priority, Progress, SubmitTask, Task, TaskError, TaskPage, TaskState
from milepost_schemas.worker import TypeInfo, WorkerInfo

__all__ = [
    "Attempt",
    "AttemptList",
    "CancelRequest",
    "Completion",
    "DeadLetter",
    "DeadLetterDetail",
    "DeadLetterGroup",
    "DeadLetterGroups",
    "DeadLetterPage",
    "Dispatch",
    "Event",
    "EventKind",
    "Position",
    "Priority",
    "Problem",
    "Progress",
    "ReplayRequest",
    "Replayed",
    "SubmitTask",
    "Task",
    "TaskError",
    "TaskPage",
    "TaskState",
    "TypeInfo",
    "WorkerInfo",
]
