"""Checks of what clients saw on their streams. Pure."""

from collections.abc import Iterator

from milepost.audit.facts import Facts, Frame, Record, TaskRow, Watch
from milepost.audit.finding import Finding
from milepost.audit.in_store import TERMINAL
from milepost_schemas.position import Position


def check_frames(facts: Facts, record: Record) -> Iterator[Finding]:
    """Check every watch by itself, and its end against the row."""
    for watch in record.watches:
        yield from _watch(watch, facts.tasks.get(watch.task))


def _watch(watch: Watch, row: TaskRow | None) -> Iterator[Finding]:
    task, who = watch.task, watch.client
    at: Position | None = None
    fresh, over = True, False
    for frame in watch.frames:
        if frame.t == "sub":
            at, fresh, over = frame.at, True, False
            continue
        assert frame.at is not None  # noqa: S101 - every frame but `sub` has one
        if over:
            yield Finding(5, task, f"{who} got {frame.t} at {_at(frame.at)} after the end.")
        match frame.t:
            case "snap":
                yield from _snap(watch, frame, at, fresh=fresh)
            case "ev":
                yield from _event(watch, frame, at)
            case "end":
                over = True
                if at is not None and frame.at < at:
                    yield Finding(5, task, f"{who} was told of an end at {_at(frame.at)}, having seen {_at(at)}.")
                if row is not None:
                    yield from _end(watch, frame, row)
        at, fresh = frame.at, False
    if not over and not watch.left:
        seen = "nothing" if at is None else f"what happened until {_at(at)}"
        state = "which Postgres does not have" if row is None else f"which {row.state} at {row.epoch}/{row.seq}"
        yield Finding(5, task, f"{who} never saw its end; it saw {seen} of the task, {state}.")


def _snap(watch: Watch, frame: Frame, at: Position | None, *, fresh: bool) -> Iterator[Finding]:
    assert frame.at is not None  # noqa: S101 - see above
    if at is not None and not frame.reset:
        yield Finding(
            5, watch.task, f"{watch.client} went from {_at(at)} to a snapshot at {_at(frame.at)} that is no reset."
        )
    if at is not None and frame.at < at and not fresh:
        yield Finding(5, watch.task, f"{watch.client} was taken back from {_at(at)} to a snapshot at {_at(frame.at)}.")


def _event(watch: Watch, frame: Frame, at: Position | None) -> Iterator[Finding]:
    assert frame.at is not None  # noqa: S101 - see above
    task, who = watch.task, watch.client
    if at is None:
        yield Finding(5, task, f"{who} got event {_at(frame.at)} without a snapshot before it.")
        return
    if frame.prev != at:
        prev = "nothing" if frame.prev is None else _at(frame.prev)
        yield Finding(5, task, f"{who} had seen {_at(at)} and got event {_at(frame.at)}, which follows {prev}.")
    if frame.at <= at:
        yield Finding(5, task, f"{who} had seen {_at(at)} and got event {_at(frame.at)} after it.")
    elif not watch.slow:
        first = frame.at.seq - frame.merged
        # A snapshot from Postgres may show the claim whose telling is merged into the next event.
        same = frame.at.epoch == at.epoch and first <= at.seq + 1
        following = frame.at.epoch == at.epoch + 1 and first == 0
        # What shows the whole task, such as an end told by the sweep of the outbox, leaves nothing out.
        if not (same or following or (frame.whole and frame.at.epoch == at.epoch)):
            merged = f" with {frame.merged} merged into it" if frame.merged else ""
            yield Finding(5, task, f"{who} saw event {_at(frame.at)}{merged} right after {_at(at)}: some are missing.")


def _end(watch: Watch, frame: Frame, row: TaskRow) -> Iterator[Finding]:
    assert frame.at is not None  # noqa: S101 - see above
    task, who = watch.task, watch.client
    if row.state not in TERMINAL:
        yield Finding(5, task, f"{who} was told of its end, and it is {row.state}.")
        return
    if frame.at.epoch > row.epoch or (frame.at.epoch == row.epoch and frame.at.seq > row.seq):
        yield Finding(5, task, f"{who} was told of an end at {_at(frame.at)}; it ended at {row.epoch}/{row.seq}.")
    if frame.at.epoch == row.epoch:
        if (frame.state, frame.attempt) != (row.state, row.attempt):
            yield Finding(
                5,
                task,
                f"{who} was told that it {frame.state} in attempt {frame.attempt}; it {row.state} in {row.attempt}.",
            )
        if row.inline and frame.result != row.result:
            yield Finding(2, task, f"{who} was shown another result than the one stored.")


def _at(at: Position) -> str:
    return f"{at.epoch}/{at.seq}"
