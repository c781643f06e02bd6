"""A small sound world for the auditor: one of everything, and nothing wrong with it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from milepost.audit.facts import (
    CompletionRecord,
    DeliveryRow,
    EventRecord,
    Facts,
    Frame,
    Hint,
    Mark,
    Move,
    PastAttempt,
    Place,
    Record,
    TaskRow,
    Told,
    WebhookRow,
    digest,
)
from milepost_schemas import Position

TASK = UUID(int=1)
OTHER = UUID(int=2)
HOOK, FOREIGN_HOOK = UUID(int=11), UUID(int=12)
ENDED_AT = 1_000.0
RESULT = digest({"n": 1})
FIRST_PID, SECOND_PID = 101, 102
API, FIRST, SECOND = "/milepost/api/a", "/milepost/worker/w1", "/milepost/worker/w2"


def event(offset: int, epoch: int, seq: int, kind: str, source: str, **more: Any) -> EventRecord:
    """Make an event at an offset of partition 0."""
    values: dict[str, Any] = {"merged": 0, "whole": False, "state": None, "result": None, "tenant": "default"}
    values |= more
    at = Position(epoch, seq)
    return EventRecord(place=Place("milepost.events", 0, offset), at=at, kind=kind, source=source, **values)


def move(source: str | None, target: str, epoch: tuple[int, int], attempt: tuple[int, int], by: str = "worker") -> Move:
    """Make a move in the journal, epochs and attempts as (before, after)."""
    return Move(source, target, *epoch, *attempt, 3, f"milepost-{by}", at=ENDED_AT)


def webhook(**more: Any) -> WebhookRow:
    """Make a webhook that is for the task's end."""
    values: dict[str, Any] = {
        "tenant": "default",
        "types": frozenset({"demo.count"}),
        "states": frozenset({"succeeded"}),
        "labels": {"team": "red"},
        "since": ENDED_AT - 60,
        "until": None,
    }
    return WebhookRow(**(values | more))


def completion(epoch: int = 3, **more: Any) -> CompletionRecord:
    """Make the completion of the task."""
    values: dict[str, Any] = {
        "place": Place("milepost.completions", 0, epoch),
        "id": f"{TASK}:{epoch}",
        "tenant": "default",
        "epoch": epoch,
        "attempt": 2,
        "state": "succeeded",
        "result": RESULT,
    }
    return CompletionRecord(**(values | more))


def mark(epoch: int, at: float, what: str = "alive", pid: int = FIRST_PID) -> Mark:
    """Make a line of the diary, of a handler that notes something every 0.1 s."""
    return Mark(epoch, at, what, pid, 0.1)


def row(**more: Any) -> TaskRow:
    """Make the row of the task."""
    values: dict[str, Any] = {
        "id": TASK,
        "tenant": "default",
        "state": "succeeded",
        "epoch": 3,
        "seq": 2,
        "attempt": 2,
        "max_attempts": 3,
        "result": RESULT,
        "key": "k",
    }
    return TaskRow(**(values | more))


def end(at: tuple[int, int] = (3, 2), **more: Any) -> Frame:
    """Make the frame that says the task is over."""
    values: dict[str, Any] = {"state": "succeeded", "attempt": 2, "result": RESULT}
    return Frame("end", Position(*at), **(values | more))


def ev(at: tuple[int, int], prev: tuple[int, int] | None, kind: str = "progress", **more: Any) -> Frame:
    """Make the frame of an event."""
    return Frame("ev", Position(*at), None if prev is None else Position(*prev), kind=kind, **more)


def sub(at: tuple[int, int] | None = None) -> Frame:
    """Make the note that the client subscribed."""
    return Frame("sub", None if at is None else Position(*at))


def snap(at: tuple[int, int], **more: Any) -> Frame:
    """Make a snapshot."""
    return Frame("snap", Position(*at), **more)


def sound() -> tuple[Facts, Record]:
    """Return a world in which a task lost its first worker and succeeded on its second, watched by one client."""
    facts = Facts(drained_s=1.0, bound_s=10.0)
    facts.tasks[TASK] = row()
    facts.webhooks = {HOOK: webhook(), FOREIGN_HOOK: webhook(tenant="b", types=None, states=None, labels=None)}
    facts.deliveries = [DeliveryRow(HOOK, "default", TASK, 3)]
    facts.told[TASK] = Told("demo.count", {"team": "red", "size": "s"}, ENDED_AT)
    facts.history[TASK] = [PastAttempt(1, 1, "lease_lost")]
    facts.moves = {
        TASK: [
            move(None, "queued", (0, 0), (0, 0), by="api"),
            move("queued", "running", (0, 1), (0, 1)),
            move("running", "queued", (1, 2), (1, 1)),
            move("queued", "running", (2, 3), (1, 2)),
            move("running", "succeeded", (3, 3), (2, 2)),
        ]
    }
    facts.events[TASK] = [
        event(0, 0, 0, "queued", API, whole=True, state="queued"),
        event(1, 1, 0, "started", FIRST, state="running"),
        event(2, 1, 1, "progress", FIRST),
        event(3, 1, 1, "progress", FIRST),  # a copy: its producer failed before the acknowledgement
        event(4, 2, 0, "lease_lost", SECOND, whole=True, state="queued"),
        event(5, 3, 1, "progress", SECOND, merged=1, state="running"),
        event(6, 3, 2, "succeeded", SECOND, state="succeeded", result=RESULT),
    ]
    facts.completions[TASK] = [completion(), completion()._replace(place=Place("milepost.completions", 0, 9))]
    facts.diary[TASK] = [
        mark(1, 10.0, "begin", FIRST_PID),
        mark(1, 10.1, "alive", FIRST_PID),
        mark(3, 12.0, "begin", SECOND_PID),
        mark(3, 12.1, "end", SECOND_PID),
    ]
    facts.hints[TASK] = [Hint(Place("milepost.work.default", 0, 0), "default", 0)]
    record = Record()
    record.answered(TASK, "k")
    watch = record.watch(TASK)
    watch.frames = [
        sub(),
        snap((0, 0)),
        ev((1, 0), (0, 0), "started"),
        ev((1, 1), (1, 0)),
        sub((1, 1)),
        snap((2, 0), reset=True),
        ev((3, 1), (2, 0), merged=1),
        ev((3, 2), (3, 1), "succeeded", result=RESULT),
        end(),
    ]
    return facts, record


def replaced(mapping: Mapping[UUID, list[Any]], index: int, **more: Any) -> None:
    """Change one entry of the task's list."""
    mapping[TASK][index] = mapping[TASK][index]._replace(**more)
