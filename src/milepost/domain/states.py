"""The legal transitions of a task and who may make each. docs/states.md draws this table; tests hold SQL against it."""

from enum import StrEnum
from typing import Final, NamedTuple

from milepost_schemas.task import TaskState as S


class Actor(StrEnum):
    """Who moves a task."""

    API = "api"
    DUE_PASS = "due pass"  # noqa: S105 - a pass over the table
    WORKER = "worker"
    SWEEPER = "sweeper"


class Transition(NamedTuple):
    """One legal move. `bumps` says whether it begins a new epoch, that is, whether the task changes hands."""

    name: str
    source: S | None
    target: S
    actor: Actor
    bumps: bool


TRANSITIONS: Final[tuple[Transition, ...]] = (
    Transition("submit", None, S.QUEUED, Actor.API, bumps=False),
    Transition("submit", None, S.SCHEDULED, Actor.API, bumps=False),
    Transition("due", S.SCHEDULED, S.QUEUED, Actor.DUE_PASS, bumps=True),
    Transition("expire", S.SCHEDULED, S.FAILED, Actor.DUE_PASS, bumps=True),
    Transition("expire", S.QUEUED, S.FAILED, Actor.DUE_PASS, bumps=True),
    Transition("claim", S.QUEUED, S.RUNNING, Actor.WORKER, bumps=True),
    Transition("finish", S.RUNNING, S.SUCCEEDED, Actor.WORKER, bumps=False),
    Transition("finish", S.RUNNING, S.FAILED, Actor.WORKER, bumps=False),
    Transition("finish", S.RUNNING, S.CANCELLED, Actor.WORKER, bumps=False),
    Transition("retry", S.RUNNING, S.SCHEDULED, Actor.WORKER, bumps=False),
    Transition("release", S.RUNNING, S.QUEUED, Actor.WORKER, bumps=False),
    Transition("sweep", S.RUNNING, S.QUEUED, Actor.SWEEPER, bumps=True),
    Transition("sweep", S.RUNNING, S.FAILED, Actor.SWEEPER, bumps=True),
    Transition("sweep", S.RUNNING, S.CANCELLED, Actor.SWEEPER, bumps=True),
    Transition("cancel", S.QUEUED, S.CANCELLED, Actor.API, bumps=True),
    Transition("cancel", S.SCHEDULED, S.CANCELLED, Actor.API, bumps=True),
    Transition("cancel", S.WAITING, S.CANCELLED, Actor.API, bumps=True),
    Transition("replay", S.FAILED, S.QUEUED, Actor.API, bumps=True),
    Transition("replay", S.FAILED, S.SCHEDULED, Actor.API, bumps=True),
    Transition("replay", S.CANCELLED, S.QUEUED, Actor.API, bumps=True),
    Transition("replay", S.CANCELLED, S.SCHEDULED, Actor.API, bumps=True),
)


def legal(source: S | None, target: S) -> bool:
    """Whether anybody may move a task from `source` (None: it does not exist) to `target`."""
    return any(t.source == source and t.target == target for t in TRANSITIONS)


def moves(name: str) -> tuple[Transition, ...]:
    """Return every transition of that name, in the table's order; empty for an unknown name."""
    return tuple(t for t in TRANSITIONS if t.name == name)
