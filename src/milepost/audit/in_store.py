"""Checks of what Postgres holds: states, attempts, keys, sums. Pure."""

from collections import Counter
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from milepost.audit.facts import Facts, Move, Record, TaskRow
from milepost.audit.finding import Finding
from milepost.domain.states import TRANSITIONS, Actor, legal
from milepost_schemas.task import TaskState

TERMINAL: Final = frozenset(state.value for state in TaskState if state.terminal)
_APPLICATION: Final = {Actor.API: "milepost-api"}
_OURS: Final = frozenset({"milepost-api", "milepost-worker"})


def check_store(facts: Facts, record: Record) -> Iterator[Finding]:
    """Check rows against what clients were told, and the journal of moves against the table of transitions."""
    yield from _accepted(facts, record)
    yield from _keys(facts, record)
    yield from _sums(facts, record)
    yield from _drained(facts)
    for task in facts.tasks.values():
        yield from _row(facts, task)
        if facts.moves is not None:
            yield from _moves(task, facts.moves.get(task.id, []))


def _accepted(facts: Facts, record: Record) -> Iterator[Finding]:
    for task, tenant in record.accepted.items():
        row = facts.tasks.get(task)
        if row is None:
            yield Finding(1, task, "a client was told that it was accepted, and Postgres does not have it.")
            continue
        if row.tenant != tenant:
            yield Finding(7, task, f"tenant {tenant} submitted it and it belongs to {row.tenant}.")
        if row.state not in TERMINAL and not row.deleted:
            yield Finding(1, task, f"it was accepted and never ended: it is still {row.state} in epoch {row.epoch}.")


def _keys(facts: Facts, record: Record) -> Iterator[Finding]:
    # A key is free again once its task was deleted.
    deleted = {row.id for row in facts.tasks.values() if row.deleted}
    for (tenant, key), told in record.keys.items():
        answers = told - deleted
        if len(answers) > 1:
            yield Finding(6, min(answers), f"key {key!r} of {tenant} was answered with {len(answers)} different tasks.")
    rows: dict[tuple[str, str], list[UUID]] = {}
    for row in facts.tasks.values():
        if row.key is not None and not row.deleted:
            rows.setdefault((row.tenant, row.key), []).append(row.id)
    for (tenant, key), ids in rows.items():
        if len(ids) > 1:
            yield Finding(6, min(ids), f"key {key!r} of {tenant} made {len(ids)} tasks.")
        answers = record.keys.get((tenant, key), set()) - deleted
        if answers and not answers & set(ids):
            yield Finding(6, ids[0], f"it has key {key!r}, whose submitters were told of task {min(answers)}.")


def _sums(facts: Facts, record: Record) -> Iterator[Finding]:
    states = Counter(row.state for task, row in facts.tasks.items() if task in record.accepted)
    known = {state.value for state in TaskState}
    if (total := sum(states[state] for state in known)) != len(record.accepted):
        shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield Finding(8, None, f"{len(record.accepted)} tasks were accepted and {total} are in some state ({shown}).")
    stray = len(facts.tasks.keys() - record.accepted.keys())
    if facts.only_ours and stray > record.unanswered:
        yield Finding(
            8, None, f"Postgres has {stray} tasks no client was told of; {record.unanswered} submissions had no answer."
        )


def _drained(facts: Facts) -> Iterator[Finding]:
    if facts.drained_s is None:
        yield Finding(9, None, f"the backlog was not worked off within {facts.bound_s:g} s.")
    elif facts.drained_s > facts.bound_s:
        yield Finding(
            9, None, f"the backlog took {facts.drained_s:.1f} s to be worked off, more than {facts.bound_s:g} s."
        )
    for task, epoch in facts.outbox:
        row = facts.tasks.get(task)
        if row is None or row.deleted or row.epoch != epoch or row.state not in TERMINAL:
            state = "gone" if row is None or row.deleted else f"{row.state} in epoch {row.epoch}"
            yield Finding(10, task, f"the outbox holds a completion of epoch {epoch}, and the task is {state}.")
        else:
            yield Finding(9, task, f"its completion of epoch {epoch} is still in the outbox.")


def _row(facts: Facts, task: TaskRow) -> Iterator[Finding]:
    if task.attempt > task.max_attempts:
        yield Finding(3, task.id, f"it had {task.attempt} attempts of {task.max_attempts}.")
    if task.state == "succeeded" and task.epoch == 0:
        yield Finding(2, task.id, "it succeeded in epoch 0, in which nobody ran it.")
    if task.state != "succeeded" and task.result is not None:
        yield Finding(2, task.id, f"it is {task.state} and has a result.")
    past = sorted(facts.history.get(task.id, []))
    if task.deleted:
        if task.state not in TERMINAL:
            yield Finding(1, task.id, f"it was deleted while it was {task.state} in epoch {task.epoch}.")
        if past:
            yield Finding(3, task.id, f"it was deleted, and {len(past)} attempts of it were not.")
        return
    for attempt in past:
        if attempt.epoch > task.epoch:
            yield Finding(
                3, task.id, f"an attempt of epoch {attempt.epoch} is history and the task is in {task.epoch}."
            )
    if task.attempt > len(past) + 1:
        yield Finding(3, task.id, f"it counts {task.attempt} attempts and its history has {len(past)} before the last.")


def _moves(task: TaskRow, moves: list[Move]) -> Iterator[Finding]:
    if not moves:
        yield Finding(3, task.id, "the journal has nothing of how it came about.")
        return
    state: str | None = None
    epoch = attempt = 0
    ends = 0
    for move in moves:
        if move.source != state or (state is not None and (move.epoch_before, move.attempt_before) != (epoch, attempt)):
            yield Finding(
                3, task.id, f"it was {state} in epoch {epoch} and moved from {move.source}, {move.epoch_before}."
            )
        yield from _move(task, move)
        if move.source in TERMINAL:
            ends -= 1  # a person had it run once more
        state, epoch, attempt = move.target, move.epoch, move.attempt
        ends += state in TERMINAL
    if (state, epoch, attempt) != (task.state, task.epoch, task.attempt):
        yield Finding(
            3, task.id, f"the journal ends with {state} in epoch {epoch}, the row is {task.state}, {task.epoch}."
        )
    if task.state in TERMINAL and ends != 1:
        yield Finding(1, task.id, f"it had {ends} terminal commits.")


def _move(task: TaskRow, move: Move) -> Iterator[Finding]:
    said = f"{move.source} (epoch {move.epoch_before}) -> {move.target} (epoch {move.epoch})"
    source = None if move.source is None else TaskState(move.source)
    target = TaskState(move.target)
    if move.source == move.target == "running" and move.epoch == move.epoch_before:
        # A worker that gives up gives the attempt back before the sweep takes the task.
        if move.attempt != move.attempt_before - 1:
            yield Finding(3, task.id, f"its attempts went from {move.attempt_before} to {move.attempt} while it ran.")
        return
    if not legal(source, target):
        yield Finding(3, task.id, f"{said} by {move.application} is no legal move.")
        return
    if move.epoch < move.epoch_before:
        yield Finding(3, task.id, f"its epoch fell: {said}.")
    bumped = move.epoch > move.epoch_before
    allowed = [t for t in TRANSITIONS if (t.source, t.target) == (source, target) and t.bumps == bumped]
    if not allowed:
        how = "a new epoch" if bumped else "no new epoch"
        yield Finding(3, task.id, f"{said} with {how}, which is no legal move.")
    elif move.application in _OURS:
        makers = {_APPLICATION.get(t.actor, "milepost-worker") for t in allowed}
        if move.application not in makers:
            yield Finding(3, task.id, f"{said} was made by {move.application}.")
    yield from _attempts(task, move, said)


def _attempts(task: TaskRow, move: Move, said: str) -> Iterator[Finding]:
    if (move.source, move.target) == ("queued", "running"):
        if move.attempt != move.attempt_before + 1:
            made = f"{move.attempt_before} attempts {move.attempt}"
            yield Finding(3, task.id, f"its claim in epoch {move.epoch} made {made}.")
    elif move.source not in TERMINAL and move.attempt not in {move.attempt_before, move.attempt_before - 1}:
        yield Finding(3, task.id, f"its attempts went from {move.attempt_before} to {move.attempt}: {said}.")
    if move.attempt > move.max_attempts:
        yield Finding(3, task.id, f"attempt {move.attempt} of {move.max_attempts} began: {said}.")
