"""An auditor that cannot fail is worth nothing: each kind of fault, put into a sound world, has to be found."""
# ruff: noqa: ARG005 - each fault says by its name what it changes

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from milepost.audit import Facts, Record, check
from milepost.audit.facts import DeliveryRow, Hint, PastAttempt, Place, Told, Unreadable, WebhookRow, digest
from milepost_schemas import Position
from tests.unit.audit.world import (
    API,
    ENDED_AT,
    FIRST,
    FOREIGN_HOOK,
    HOOK,
    OTHER,
    SECOND,
    TASK,
    completion,
    end,
    ev,
    event,
    mark,
    move,
    replaced,
    row,
    snap,
    sound,
    sub,
    webhook,
)

Fault = Callable[[Facts, Record], object]


def test_a_sound_world_has_no_findings_and_says_what_was_looked_at() -> None:
    verdict = check(*sound())
    assert verdict.findings == []
    assert verdict.good
    assert verdict.counts["events"] == 7
    assert "found nothing wrong. It looked at 1 tasks" in verdict.text()


def _frames(record: Record, *frames: object) -> None:
    record.watches[0].frames[:] = frames  # type: ignore[assignment]


def _row(facts: Facts, **more: object) -> None:
    facts.tasks[TASK] = row(**more)


def _moves(facts: Facts) -> "list[object]":
    assert facts.moves is not None
    return facts.moves[TASK]  # type: ignore[return-value]


def _delete(facts: Facts, *, history: bool = False, deliveries: bool = False, outbox: Any = (), **more: object) -> None:
    """Delete the task, as it is or was, and all that is kept of it but for what is named."""
    facts.tasks[TASK] = row(deleted=True, **more)
    facts.outbox = list(outbox)
    if not history:
        facts.history.clear()
    if not deliveries:
        facts.deliveries.clear()


OTHERS = digest({"n": 2})

FAULTS: list[tuple[str, int, str, Fault]] = [
    ("a claim that does not count", 3, "its claim in epoch 1", lambda f, r: replaced(f.moves or {}, 1, attempt=0)),
    ("an attempt from nowhere", 3, "attempts went from 1 to 2", lambda f, r: replaced(f.moves or {}, 2, attempt=2)),
    ("an attempt gained in a run", 3, "while it ran", lambda f, r: _gain(f)),
    ("a task that is gone", 1, "Postgres does not have it", lambda f, r: f.tasks.clear()),
    ("an accepted task that is gone", 1, "told that it was accepted", lambda f, r: r.answered(OTHER)),
    ("a task deleted while it ran", 1, "it was deleted while", lambda f, r: _delete(f, state="running", result=None)),
    ("a run of a deleted task", 3, "1 attempts of it were not", lambda f, r: _delete(f, history=True)),
    ("a completion of a deleted task", 10, "the task is gone", lambda f, r: _delete(f, outbox=[(TASK, 3)])),
    ("a delivery cut off", 12, "was deleted before that was over", lambda f, r: _delete(f, deliveries=True)),
    ("a task that never ends", 1, "still running in epoch 3", lambda f, r: _row(f, state="running", result=None)),
    (
        "two terminal commits",
        1,
        "2 terminal commits",
        lambda f, r: _moves(f).append(move("running", "succeeded", (3, 3), (2, 2))),
    ),
    ("an end told twice", 1, "as well", lambda f, r: f.events[TASK].insert(5, event(7, 3, 0, "failed", SECOND))),
    (
        "an end told in two epochs",
        1,
        "told in 2 epochs: 1, 3",
        lambda f, r: _fail_early(f),
    ),
    (
        "an end told of a task that goes on",
        1,
        "its end was told at 3/2, and it is running",
        lambda f, r: _row(f, state="running", result=None),
    ),
    ("a hint without a task", 1, "and Postgres does not have it", lambda f, r: f.hints.update({OTHER: f.hints[TASK]})),
    ("a cancel of no task", 1, "the cancel request", lambda f, r: f.cancels.update({OTHER: [Place("c", 0, 0)]})),
    ("another result in the last event", 2, "its last event", lambda f, r: replaced(f.events, 6, result=OTHERS)),
    (
        "copies of the last event that differ",
        2,
        "show different results",
        lambda f, r: f.events[TASK].append(event(8, 3, 2, "succeeded", SECOND, state="succeeded", result=OTHERS)),
    ),
    ("another result in the completion", 2, "its completion shows", lambda f, r: _result(f, OTHERS)),
    ("another result in a client's hands", 2, "was shown another result", lambda f, r: _shown(r, OTHERS)),
    ("a result of a failed task", 2, "is failed and has a result", lambda f, r: _row(f, state="failed")),
    ("a success nobody ran for", 2, "in which nobody ran it", lambda f, r: _row(f, epoch=0)),
    ("an illegal move", 3, "is no legal move", lambda f, r: replaced(f.moves or {}, 4, source="queued")),
    ("a claim without a new epoch", 3, "with no new epoch", lambda f, r: replaced(f.moves or {}, 1, epoch=0)),
    ("a finish with a new epoch", 3, "with a new epoch", lambda f, r: replaced(f.moves or {}, 4, epoch=4)),
    ("an epoch that falls", 3, "its epoch fell", lambda f, r: replaced(f.moves or {}, 4, epoch=2)),
    (
        "a claim by the api",
        3,
        "was made by milepost-api",
        lambda f, r: replaced(f.moves or {}, 1, application="milepost-api"),
    ),
    (
        "a submission by a worker",
        3,
        "made by milepost-worker",
        lambda f, r: replaced(f.moves or {}, 0, application="milepost-worker"),
    ),
    ("a move from nowhere", 3, "and moved from", lambda f, r: _moves(f).pop(2)),
    ("a row behind its journal", 3, "the journal ends with", lambda f, r: _moves(f).pop()),
    ("a row without a journal", 3, "the journal has nothing", lambda f, r: _moves(f).clear()),
    ("an attempt too many", 3, "4 attempts of 3", lambda f, r: _row(f, attempt=4)),
    (
        "an attempt begun beyond the bound",
        3,
        "attempt 4 of 3 began",
        lambda f, r: replaced(f.moves or {}, 3, attempt=4),
    ),
    ("an attempt that was not counted", 3, "its history has 0", lambda f, r: _count(f)),
    (
        "history of the future",
        3,
        "an attempt of epoch 9",
        lambda f, r: f.history[TASK].append(PastAttempt(9, 2, "released")),
    ),
    (
        "an event of the future",
        3,
        "an epoch it never reached",
        lambda f, r: f.events[TASK].append(event(8, 4, 0, "started", FIRST)),
    ),
    ("a hint of the future", 3, "the hint at", lambda f, r: f.hints[TASK].append(Hint(Place("w", 0, 1), "default", 4))),
    ("a gap", 4, "between events 1/0 and 1/2 some are missing", lambda f, r: _seq(f, 2)),
    ("a gap at the beginning", 4, "epoch 3 begins with event 3/1", lambda f, r: replaced(f.events, 5, merged=0)),
    ("a double", 4, "was given twice: progress", lambda f, r: replaced(f.events, 3, kind="log")),
    ("events out of order", 4, "comes behind 1/1 in the log", lambda f, r: _swap(f)),
    (
        "two writers",
        4,
        "2 parties wrote events of epoch 1",
        lambda f, r: f.events[TASK].append(event(8, 1, 2, "progress", SECOND)),
    ),
    (
        "an event after the end",
        4,
        "comes after its end",
        lambda f, r: f.events[TASK].append(event(8, 3, 3, "progress", SECOND)),
    ),
    ("an end nobody was told of", 4, "no event tells of its end", lambda f, r: f.events[TASK].pop()),
    (
        "events of no task",
        4,
        "1 events tell of it",
        lambda f, r: f.events.update({OTHER: [event(9, 0, 0, "queued", API)]}),
    ),
    (
        "what cannot be read",
        4,
        "cannot be read: why",
        lambda f, r: f.unreadable.append(Unreadable(Place("t", 0, 3), "why")),
    ),
    ("a dead letter", 4, "was put aside: why", lambda f, r: f.dead_letters.append(Unreadable(Place("t", 0, 3), "why"))),
    (
        "a log that has been cut",
        4,
        "no longer holds its first records",
        lambda f, r: f.truncated.append("milepost.events/0"),
    ),
    ("a client left behind", 5, "never saw its end", lambda f, r: r.watches[0].frames.pop()),
    ("a client told nothing", 5, "it saw nothing of the task", lambda f, r: r.watch(TASK)),
    ("a broken chain", 5, "which follows 1/1", lambda f, r: _frames(r, sub(), snap((1, 0)), ev((1, 2), (1, 1)), end())),
    (
        "a gap in the frames",
        5,
        "some are missing",
        lambda f, r: _frames(r, sub(), snap((1, 0)), ev((1, 2), (1, 0)), end()),
    ),
    (
        "an epoch left out",
        5,
        "right after 1/0",
        lambda f, r: _frames(r, sub(), snap((1, 0)), ev((3, 0), (1, 0)), end()),
    ),
    (
        "a later epoch from its middle",
        5,
        "right after 1/0",
        lambda f, r: _frames(r, sub(), snap((1, 0)), ev((2, 1), (1, 0)), end()),
    ),
    ("an event before any snapshot", 5, "without a snapshot", lambda f, r: _frames(r, sub(), ev((1, 0), None), end())),
    ("an event twice", 5, "after it", lambda f, r: _frames(r, sub(), snap((1, 0)), ev((1, 0), (1, 0)), end())),
    ("a silent jump", 5, "that is no reset", lambda f, r: _frames(r, sub(), snap((0, 0)), snap((2, 0)), end())),
    ("a way back", 5, "was taken back", lambda f, r: _frames(r, sub(), snap((2, 0)), snap((1, 0), reset=True), end())),
    ("frames after the end", 5, "after the end", lambda f, r: r.watches[0].frames.append(end())),
    ("an end before what was seen", 5, "having seen 3/1", lambda f, r: _frames(r, sub(), snap((3, 1)), end((3, 0)))),
    ("an end beyond the end", 5, "it ended at 3/2", lambda f, r: _frames(r, sub(), end((3, 5)))),
    (
        "an end of a task that goes on",
        5,
        "was told of its end, and it is running",
        lambda f, r: _row(f, state="running", result=None),
    ),
    ("another end", 5, "that it failed in attempt 2", lambda f, r: _frames(r, sub(), end(state="failed"))),
    ("a key answered with two tasks", 6, "answered with 2 different tasks", lambda f, r: r.answered(OTHER, "k")),
    ("a key that made two tasks", 6, "made 2 tasks", lambda f, r: f.tasks.update({OTHER: row(id=OTHER)})),
    ("a key of another task", 6, "whose submitters were told of task", lambda f, r: _told_other(r)),
    ("another tenant's task", 7, "it belongs to b", lambda f, r: _row(f, tenant="b")),
    ("another tenant's event", 7, "the event at", lambda f, r: replaced(f.events, 1, tenant="b")),
    ("another tenant's completion", 7, "completion", lambda f, r: replaced(f.completions, 0, tenant="b")),
    ("another tenant's hint", 7, "the hint at", lambda f, r: replaced(f.hints, 0, tenant="b")),
    (
        "a sum that is off",
        8,
        "2 tasks were accepted and 1 are in some state (1 succeeded)",
        lambda f, r: r.answered(OTHER),
    ),
    (
        "a task nobody was told of",
        8,
        "no client was told of",
        lambda f, r: f.tasks.update({OTHER: row(id=OTHER, key=None)}),
    ),
    ("a backlog that stays", 9, "not worked off within 10 s", lambda f, r: setattr(f, "drained_s", None)),
    ("a backlog that is slow", 9, "took 11.0 s", lambda f, r: setattr(f, "drained_s", 11.0)),
    ("a completion that waits", 9, "still in the outbox", lambda f, r: f.outbox.append((TASK, 3))),
    ("a completion of another epoch in the outbox", 10, "the outbox holds", lambda f, r: f.outbox.append((TASK, 1))),
    ("no completion", 10, "no completion says so", lambda f, r: f.completions.clear()),
    ("two completions", 10, "2 completions with different ids", lambda f, r: f.completions[TASK].append(completion(1))),
    ("copies of a completion that differ", 10, "differ", lambda f, r: replaced(f.completions, 1, state="failed")),
    ("a completion of another state", 10, "its completion says failed", lambda f, r: _completed(f, state="failed")),
    ("a completion with a wrong id", 10, "has the id x", lambda f, r: replaced(f.completions, 0, id="x")),
    ("a completion of an open task", 10, "and has a completion", lambda f, r: _row(f, state="running", result=None)),
    (
        "a completion of no task",
        10,
        "a completion tells of it",
        lambda f, r: f.completions.update({OTHER: [completion()]}),
    ),
    (
        "a handler that goes on without its task",
        11,
        "process 101 ran it in epoch 1 for 0.20 s after process 102 had begun epoch 3, and had been at work all along",
        lambda f, r: f.diary[TASK].extend(mark(1, at) for at in (11.4, 11.9, 12.1, 12.2)),
    ),
    (
        "a handler that wakes and goes on",
        11,
        "it had stood still, and went on for 3.50 s when it woke",
        lambda f, r: f.diary[TASK].extend(mark(1, 20.0 + n / 2) for n in range(8)),
    ),
    (
        "a handler that begins when it is too late, and stays",
        11,
        "went on for 4.00 s when it woke",
        lambda f, r: _begin_late(f),
    ),
    (
        "a handler begun twice",
        11,
        "was begun 2 times in epoch 3",
        lambda f, r: f.diary[TASK].append(mark(3, 12.3, "begin")),
    ),
    ("an end that is not told", 12, "has no delivery to webhook", lambda f, r: f.deliveries.clear()),
    ("an end that only its row shows and that is not told", 12, "has no delivery", lambda f, r: _untold(f)),
    ("an end told twice over HTTP", 12, "has 2 deliveries", lambda f, r: f.deliveries.append(f.deliveries[0])),
    ("a delivery of no end", 12, "and there was none", lambda f, r: f.deliveries.append(_delivery(epoch=2))),
    (
        "a delivery of the future",
        12,
        "there was none",
        lambda f, r: _told_too_much(f),
    ),
    ("a delivery to nobody", 12, "which is not there", lambda f, r: f.deliveries.append(_delivery(hook=OTHER))),
    ("an end no filter is for, by its type", 12, "leave it out", lambda f, r: _hook(f, types=frozenset({"demo.echo"}))),
    ("one by its state", 12, "leave it out", lambda f, r: _hook(f, states=frozenset({"failed"}))),
    ("one by its labels", 12, "leave it out", lambda f, r: _hook(f, labels={"team": "blue"})),
    (
        "a delivery of another tenant",
        7,
        "for b, and it belongs to default",
        lambda f, r: f.deliveries.append(_delivery(tenant="b")),
    ),
    (
        "a webhook of another tenant that is told",
        7,
        "of b for b, and it belongs to default",
        lambda f, r: f.deliveries.append(_delivery(hook=FOREIGN_HOOK, tenant="b")),
    ),
    (
        "a delivery of no task",
        12,
        "Postgres does not have the task",
        lambda f, r: f.deliveries.append(_delivery(task=OTHER)),
    ),
]


def _delivery(epoch: int = 3, *, hook: UUID = HOOK, tenant: str = "default", task: UUID = TASK) -> DeliveryRow:
    return DeliveryRow(hook, tenant, task, epoch)


def _hook(facts: Facts, **more: object) -> None:
    facts.webhooks[HOOK] = webhook(**more)


def _no_journal(facts: Facts) -> None:
    facts.moves = None


def _untold(facts: Facts) -> None:
    _no_journal(facts)
    facts.deliveries.clear()


def _told_too_much(facts: Facts) -> None:
    _no_journal(facts)
    facts.deliveries.append(_delivery(4))


def _begin_late(facts: Facts) -> None:
    facts.diary[TASK][:2] = [mark(1, 30.0, "begin"), mark(1, 34.0)]


def _fail_early(facts: Facts) -> None:
    replaced(facts.events, 2, kind="failed")
    replaced(facts.events, 3, kind="failed")


def _result(facts: Facts, result: str) -> None:
    _completed(facts, result=result)


def _completed(facts: Facts, **more: object) -> None:
    replaced(facts.completions, 0, **more)
    replaced(facts.completions, 1, **more)


def _shown(record: Record, result: str) -> None:
    record.watches[0].frames[-1] = end(result=result)


def _count(facts: Facts) -> None:
    facts.history[TASK].clear()


def _gain(facts: Facts) -> None:
    _moves(facts).insert(2, move("running", "running", (1, 1), (1, 2)))


def _seq(facts: Facts, seq: int) -> None:
    replaced(facts.events, 2, at=Position(1, seq))
    replaced(facts.events, 3, at=Position(1, seq))


def _swap(facts: Facts) -> None:
    events = facts.events[TASK]
    events[1], events[2] = events[2], events[1]


def _told_other(record: Record) -> None:
    record.keys["default", "k"] = {OTHER}


@pytest.mark.parametrize(("invariant", "says", "fault"), [pytest.param(*rest, id=name) for name, *rest in FAULTS])
def test_each_kind_of_fault_is_found(invariant: int, says: str, fault: Fault) -> None:
    facts, record = sound()
    fault(facts, record)
    verdict = check(facts, record)
    assert [f for f in verdict.findings if f.invariant == invariant and says in f.what], verdict.text()
    assert str(verdict.findings[0]) in verdict.text()


@pytest.mark.parametrize(
    "row",
    [
        webhook(since=ENDED_AT - 1),
        webhook(since=ENDED_AT + 60),
        webhook(until=ENDED_AT + 1),
        webhook(until=ENDED_AT - 60),
    ],
    ids=["made just before", "made after it", "deleted just after", "deleted before it"],
)
def test_a_webhook_that_began_or_ceased_near_an_end_may_be_told_of_it_or_not(row: WebhookRow) -> None:
    facts, record = sound()
    facts.webhooks[HOOK] = row
    assert check(facts, record).good
    facts.deliveries.clear()
    assert check(facts, record).good


def test_a_task_may_be_deleted_with_all_that_is_kept_of_it_and_its_key_used_again() -> None:
    facts, record = sound()
    _delete(facts)
    facts.tasks[OTHER] = row(id=OTHER, epoch=0, seq=0, attempt=0, result=None, state="queued")
    assert facts.moves is not None
    facts.moves[OTHER] = [move(None, "queued", (0, 0), (0, 0), by="api")]
    record.answered(OTHER, "k")
    assert [finding.task for finding in check(facts, record).findings] == [OTHER], "it never ended; nothing else"


def test_filters_leave_out_what_they_are_not_for() -> None:
    for more in ({"types": frozenset({"x"})}, {"states": frozenset({"failed"})}, {"labels": {"size": "l"}}):
        facts, record = sound()
        facts.webhooks[HOOK] = webhook(**more)
        facts.deliveries.clear()
        assert check(facts, record).good


def test_without_a_journal_ends_before_the_last_are_not_judged() -> None:
    facts, record = sound()
    facts.moves = None
    facts.deliveries.append(_delivery(1))
    assert check(facts, record).good
    facts.told[TASK] = Told("demo.count", {"team": "red"}, None)
    facts.deliveries.pop(0)
    assert check(facts, record).good


def test_what_is_allowed_to_happen_is_no_fault() -> None:
    facts, record = sound()
    # The sweep of the outbox tells the end once more, as the whole task, from another worker.
    told = event(7, 3, 2, "succeeded", FIRST, whole=True, state="succeeded", result=digest({"n": 1}))
    facts.events[TASK][5:] = [told]
    _frames(record, sub(), snap((3, 0)), ev((3, 2), (3, 0), "succeeded", whole=True), end(attempt=1))
    # Here its writer's producer healed only after that, and sends what is old by now.
    facts.events[TASK] += [
        event(8, 3, 1, "progress", SECOND, merged=1, state="running"),
        event(9, 3, 2, "succeeded", SECOND, state="succeeded", result=digest({"n": 1})),
    ]
    # A worker gave up and gave its attempt back; the sweep took the task then.
    assert facts.moves is not None
    facts.moves[TASK][2:4] = [
        move("running", "running", (1, 1), (1, 0)),
        move("running", "queued", (1, 2), (0, 0)),
        move("queued", "running", (2, 3), (0, 1)),
    ]
    replaced(facts.moves, 5, attempt_before=1, attempt=1)
    facts.tasks[TASK] = row(attempt=1)
    facts.completions[TASK] = [completion(attempt=1)]
    # A client that reads slowly is spared events; one that left is owed no end.
    slow = record.watch(TASK, slow=True)
    slow.frames += [sub(), snap((1, 0)), ev((1, 4), (1, 0)), end(attempt=1)]
    left = record.watch(TASK)
    left.left = True
    # After Redis lost everything a client that comes back may be shown what Postgres knows, which is older.
    back = record.watch(TASK)
    back.frames += [sub(), snap((3, 1)), sub((3, 1)), snap((3, 0), reset=True), ev((3, 1), (3, 0)), end(attempt=1)]
    # A worker that stood still past its lease wakes, and its handler is told a moment later.
    facts.diary[TASK] += [mark(1, 40.0), mark(1, 40.3, "end")]
    # Nobody told this client of a task, but one submission had no answer.
    record.unanswered = 1
    facts.tasks[OTHER] = row(id=OTHER, key=None, state="queued", epoch=0, seq=0, attempt=0, result=None)
    facts.moves[OTHER] = [move(None, "queued", (0, 0), (0, 0), by="api")]
    assert check(facts, record).text().startswith("The audit found nothing wrong.")
