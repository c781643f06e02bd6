"""Checks of what Kafka holds: the numbers of events, completions, hints. Pure."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

from milepost.audit.facts import CompletionRecord, EventRecord, Facts, TaskRow
from milepost.audit.finding import Finding
from milepost.audit.in_store import TERMINAL
from milepost_schemas.position import Position


def check_log(facts: Facts) -> Iterator[Finding]:
    """Check every topic against the rows."""
    for partition in facts.truncated:
        yield Finding(4, None, f"{partition} no longer holds its first records, so this audit cannot judge them.")
    for place, why in facts.unreadable:
        yield Finding(4, None, f"the record at {place} cannot be read: {why}.")
    for place, why in facts.dead_letters:
        yield Finding(4, None, f"the record at {place} was put aside: {why}.")
    for task, events in facts.events.items():
        yield from _events(task, facts.tasks.get(task), events)
    for task, completions in facts.completions.items():
        yield from _completions(task, facts.tasks.get(task), completions)
    for row in facts.tasks.values():
        if row.state in TERMINAL:
            yield from _told(facts, row)
    yield from _hints(facts)


def _events(task: UUID, row: TaskRow | None, events: list[EventRecord]) -> Iterator[Finding]:
    if row is None:
        yield Finding(4, task, f"{len(events)} events tell of it, and Postgres does not have it.")
        return
    for event in events:
        if event.tenant != row.tenant:
            yield Finding(7, task, f"the event at {event.place} says it is {event.tenant}'s; it is {row.tenant}'s.")
        if event.at.epoch > row.epoch:
            yield Finding(3, task, f"event {_at(event.at)} is of an epoch it never reached; it is in {row.epoch}.")
    epochs: dict[int, list[EventRecord]] = {}
    for event in events:
        epochs.setdefault(event.at.epoch, []).append(event)
    for epoch, found in epochs.items():
        yield from _epoch(task, epoch, found)
    yield from _ends(task, row, events)


def _ends(task: UUID, row: TaskRow, events: list[EventRecord]) -> Iterator[Finding]:
    ends = {event.at: event for event in events if event.kind in TERMINAL}
    if row.state in TERMINAL:
        for at, event in ends.items():
            if at != (row.epoch, row.seq) and at.epoch == row.epoch:
                yield Finding(
                    1, task, f"it ended at {row.epoch}/{row.seq}, and {event.kind} was told at {_at(at)} as well."
                )
        last = max(event.at for event in events)
        if last > (row.epoch, row.seq):
            yield Finding(4, task, f"event {_at(last)} comes after its end at {row.epoch}/{row.seq}.")
    elif ends:
        yield Finding(1, task, f"its end was told at {_at(max(ends))}, and it is {row.state}.")


def _epoch(task: UUID, epoch: int, events: list[EventRecord]) -> Iterator[Finding]:
    """Check the numbers within an epoch; copies of a record are no fault, two records with one number are."""
    first: dict[int, EventRecord] = {}
    by_source: dict[str, dict[int, EventRecord]] = {}
    for event in events:
        known = first.setdefault(event.at.seq, event)
        by_source.setdefault(event.source, {}).setdefault(event.at.seq, event)
        if (known.kind, known.state or event.state) != (event.kind, event.state or known.state):
            given = f"{known.kind} ({known.place}), {event.kind} ({event.place})"
            yield Finding(4, task, f"{_at(event.at)} was given twice: {given}.")
        elif known.result is not None and event.result is not None and known.result != event.result:
            yield Finding(2, task, f"two copies of event {_at(event.at)} show different results.")
    # Who only repeats an end from the outbox is no writer of the epoch. It shows the whole task, so what its writer
    # sends after it, once its producer has healed, is older than what readers have, and missed by nobody.
    writers = {
        source: list(found.values())
        for source, found in by_source.items()
        if not all(event.whole and event.kind in TERMINAL for event in found.values())
    }
    if len(writers) > 1:
        yield Finding(4, task, f"{len(writers)} parties wrote events of epoch {epoch}: {', '.join(sorted(writers))}.")
    for order in writers.values():
        yield from _numbers(task, epoch, order)


def _numbers(task: UUID, epoch: int, order: list[EventRecord]) -> Iterator[Finding]:
    """Check one writer's events of an epoch, each the first of its copies, as they lie in the log."""
    if not order[0].whole and order[0].at.seq - order[0].merged != 0:
        yield Finding(4, task, f"epoch {epoch} begins with event {_at(order[0].at)}: those before it are missing.")
    for before, after in pairwise(order):
        if after.at.seq < before.at.seq:
            yield Finding(4, task, f"event {_at(after.at)} comes behind {_at(before.at)} in the log.")
        elif after.at.seq - after.merged > before.at.seq + 1 and not after.whole:
            yield Finding(4, task, f"between events {_at(before.at)} and {_at(after.at)} some are missing.")


def _completions(task: UUID, row: TaskRow | None, completions: list[CompletionRecord]) -> Iterator[Finding]:
    if row is None:
        yield Finding(10, task, "a completion tells of it, and Postgres does not have it.")
        return
    by_id: dict[str, CompletionRecord] = {}
    for completion in completions:
        if completion.tenant != row.tenant:
            yield Finding(
                7, task, f"completion {completion.id} says it is {completion.tenant}'s; it is {row.tenant}'s."
            )
        if completion.id != f"{task}:{completion.epoch}":
            yield Finding(10, task, f"the completion of epoch {completion.epoch} has the id {completion.id}.")
        known = by_id.setdefault(completion.id, completion)
        if known[2:] != completion[2:]:
            yield Finding(
                10, task, f"two copies of completion {completion.id} differ: at {known.place} and {completion.place}."
            )
    if row.state not in TERMINAL:
        yield Finding(10, task, f"it is {row.state}, and has a completion.")
        return
    ours = by_id.get(f"{task}:{row.epoch}")
    if ours is not None:
        if ours.state != row.state or ours.attempt != row.attempt:
            yield Finding(
                10,
                task,
                f"its completion says {ours.state} in attempt {ours.attempt}, it {row.state} in {row.attempt}.",
            )
        if row.inline and ours.result != row.result:
            yield Finding(2, task, "its completion shows another result than the one stored.")


def _told(facts: Facts, row: TaskRow) -> Iterator[Finding]:
    """Check that an end was told, once, as it is stored. Ends of before a person's retry are not asked for."""
    completions = facts.completions.get(row.id, [])
    ids = {completion.id for completion in completions}
    if f"{row.id}:{row.epoch}" not in ids:
        yield Finding(10, row.id, f"it {row.state} in epoch {row.epoch}, and no completion says so.")
    earlier = _earlier_ends(facts, row)
    if len(ids) > 1 + earlier:
        yield Finding(10, row.id, f"it has {len(ids)} completions with different ids: {', '.join(sorted(ids))}.")
    ends = [event for event in facts.events.get(row.id, []) if event.at == (row.epoch, row.seq)]
    if not any(event.kind == row.state for event in ends):
        yield Finding(4, row.id, f"no event tells of its end ({row.state}) at {row.epoch}/{row.seq}.")
    if row.inline and any(event.result is not None and event.result != row.result for event in ends):
        yield Finding(2, row.id, "its last event shows another result than the one stored.")
    ended_in = {e.at.epoch for e in facts.events.get(row.id, []) if e.kind in TERMINAL}
    if len(ended_in) > 1 + earlier:
        yield Finding(
            1, row.id, f"its end was told in {len(ended_in)} epochs: {', '.join(map(str, sorted(ended_in)))}."
        )


def _earlier_ends(facts: Facts, row: TaskRow) -> int:
    """Return how often the task had ended before and was made to run again by a person."""
    if facts.moves is not None:
        return sum(move.source in TERMINAL for move in facts.moves.get(row.id, []))
    outcomes = Counter(past.outcome for past in facts.history.get(row.id, []))
    return sum(count for outcome, count in outcomes.items() if outcome.startswith("retried"))


def _hints(facts: Facts) -> Iterator[Finding]:
    for task, hints in facts.hints.items():
        row = facts.tasks.get(task)
        if row is None:
            yield Finding(1, task, f"the hint at {hints[0].place} names it, and Postgres does not have it.")
            continue
        for hint in hints:
            if hint.tenant != row.tenant:
                yield Finding(7, task, f"the hint at {hint.place} says it is {hint.tenant}'s; it is {row.tenant}'s.")
            if hint.epoch > row.epoch:
                yield Finding(3, task, f"the hint at {hint.place} is of epoch {hint.epoch}; it is in {row.epoch}.")
    for task, places in facts.cancels.items():
        if task not in facts.tasks:
            yield Finding(1, task, f"the cancel request at {places[0]} names it, and Postgres does not have it.")


def _at(at: Position) -> str:
    return f"{at.epoch}/{at.seq}"
