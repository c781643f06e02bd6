"""An event as it travels through Redis: a line of header, then the JSON text that goes to browsers as it is.

    PREV_EPOCH PREV_SEQ EPOCH SEQ KIND SORT MERGED TRACEPARENT
    {…}

`PREV_*` is the position the snapshot had before (`-` for none): who watches sees at once that something was missed.
`SORT` says what the data is, see `Sort`. `MERGED` is how many events with the numbers before are in this one.
On a parent's channel a message of its child begins with a plus, the child's id and a space.
Text is spliced, never parsed and written again: thousands of watchers get the bytes the ingest made.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, Final

import orjson
from pydantic_core import from_json, to_json

from milepost_schemas.event import Event, EventKind
from milepost_schemas.position import Position
from milepost_schemas.task import Task


class Sort(IntEnum):
    """What the data of an event is."""

    PATCH = 0
    PROGRESS = 1
    """Nothing but progress: a later event of the same sort replaces it entirely."""
    WHOLE = 2
    """The whole task, each of its members and no other."""
    LAST = 3
    """The whole task, which is over."""
    LATE = 4
    """To a feed alone: the whole task as it is by now, whose first event was overtaken. Members may be there twice; the
    later one counts."""


MEMBERS: Final = frozenset(Task.model_fields) - {"links"}
"""The members of a task in the relay; links are the API's."""
TERMINAL: Final = frozenset(kind.value for kind in EventKind if kind.terminal)
SEED: Final = "seed"
"""Not an event: the snapshot was moved forward from Postgres."""
MENDED: Final = "mended"
"""Not an event: what was missed of the task is in the snapshot now, put in from Postgres."""
MEMBERS_MAX: Final = 256
_UTC: Final = orjson.OPT_UTC_Z
_WHOLE: Final = (b"2", b"3")
_LATE: Final = b"%d" % Sort.LATE
_AROUND: Final = 140
"""Bytes of a frame beside its data, about."""
_NATURES: Final = {
    kind.value: (kind.patches, kind.terminal, kind is EventKind.PROGRESS or not kind.patches) for kind in EventKind
}
"""Of each kind: whether its data changes the task; whether it ends it; whether a snapshot later makes up for it, which
is true of progress and of what is streamed, never of lifecycle."""
_NATURE: Final = (True, False, False)
_PROGRESS_ONLY: Final = frozenset({"progress", "epoch"})


def json_text(value: Any) -> bytes:
    """Return `value` as JSON; integers of any size, NaN as null."""
    try:
        return orjson.dumps(value, option=_UTC)
    except TypeError:
        return to_json(value, inf_nan_mode="null")


def members_of(data: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the members of a task or patch with their values as JSON, without names that are ours (`@…`).

    Raises ValueError if there are more than a task can have.
    """
    if len(data) > MEMBERS_MAX:
        raise ValueError(f"a task has at most {MEMBERS_MAX} members, this has {len(data)}")
    try:
        return [(name, orjson.dumps(value, option=_UTC)) for name, value in data.items() if name[:1] != "@"]
    except TypeError:
        return [(name, json_text(value)) for name, value in data.items() if name[:1] != "@"]


def object_text(members: list[tuple[str, bytes]]) -> bytes:
    """Return a JSON object of members whose values are JSON already."""
    return b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(name), value) for name, value in members)


def row_text(task: Mapping[str, Any]) -> bytes | None:
    """Return the JSON text of a task that has exactly the members of a task; None for anything less or more."""
    return json_text(task) if task.keys() == MEMBERS else None


def merged_text(task: bytes, patches: Iterable[bytes]) -> bytes:
    """Return the JSON text of a task with patches folded in, in order."""
    members: dict[str, Any] = from_json(task)
    for patch in patches:
        members |= from_json(patch)
    return json_text(members)


def is_progress_only(event: Event) -> bool:
    """Whether a later event of the same sort says everything this one does."""
    return event.kind is EventKind.PROGRESS and event.data.keys() <= _PROGRESS_ONLY


def merged_of(event: Event) -> int:
    """Return how many events of the same epoch, with the numbers before, are in this one."""
    return min(event.merged, event.at.seq)


def head_of(event: Event, sort: Sort) -> bytes:
    """Return the header without its first two words, which only Redis knows when it applies the event."""
    return b"%d %d %b %d %d %b" % (
        *event.at,
        event.kind.encode(),
        sort,
        merged_of(event),
        (event.traceparent or "-").encode(),
    )


class LiveEvent:
    """One event on its way to browsers."""

    __slots__ = (
        "_asked", "_frame", "alone", "at", "data", "droppable", "finished", "kind", "merged", "patches", "prev", "size",
        "task", "terminal", "trace", "whole",
    )  # fmt: skip

    def __init__(
        self,
        task: bytes,
        prev: Position | None,
        at: Position,
        kind: str,
        alone: bool,
        trace: bytes,
        data: bytes,
        *,
        whole: bool = False,
        finished: bool = False,
        merged: int = 0,
    ) -> None:
        self.task = task
        self.prev = prev
        self.at = at
        self.kind = kind
        self.alone = alone
        self.whole = whole
        """`data` is the whole task."""
        self.finished = finished
        """Whether `data` is the whole task, and it is over."""
        self.merged = merged
        self.data = data
        self.trace = trace
        self.patches, self.terminal, self.droppable = _NATURES.get(kind, _NATURE)
        self.size = len(data) + _AROUND
        self._asked: tuple[int, Position | None, int] | None = None
        self._frame = b""

    @property
    def traceparent(self) -> str | None:
        """Of the task."""
        return None if self.trace == b"-" else self.trace.decode()

    def frame(self, number: int, prev: Position | None, merged: int) -> bytes:
        """Return the frame for a subscription that was at `prev`; `merged`: so many events before are in this one.

        Those who watch a task mostly are at the same position, under the same number: they get the very same bytes.
        """
        asked = (number, prev, merged)
        if asked != self._asked:
            self._asked = asked
            trace = self.trace
            self._frame = b'{"t":"ev","id":%d,"task":"%b","at":[%d,%d],"prev":%b,"kind":"%b","data":%b%b%b' % (
                number,
                self.task,
                *self.at,
                b"null" if prev is None else b"[%d,%d]" % prev,
                self.kind.encode(),
                self.data,
                b"" if trace == b"-" else b',"traceparent":"%b","trace_id":"%b"' % (trace, trace[3:35]),
                b',"merged":%d}' % merged if merged else b"}",
            )
        return self._frame

    def continues(self, position: Position) -> bool:
        """Return whether no event lies between `position` and this one.

        Inside an epoch the numbers say so. Only Redis knows which event was the last of an epoch: a new one continues
        the position if the snapshot had not got further.
        """
        first = self.at.seq - self.merged
        if self.at.epoch == position.epoch:
            return first <= position.seq + 1 and self.at > position
        return self.at.epoch == position.epoch + 1 and first == 0 and self.prev is not None and self.prev <= position

    def __repr__(self) -> str:
        return f"<{self.kind} {tuple(self.at)}>"


def feed_entries(message: bytes) -> Iterator[tuple[bytes, bytes, bytes, bool, bytes, bytes]]:
    """Yield (task, "EPOCH,SEQ", kind, only progress, data, traceparent or "-") of what apply.lua tells a feed.

    Raises ValueError for what the ingest did not write.
    """
    lines = message.split(b"\n")
    for header, data in zip(lines[:-1:2], lines[1::2], strict=True):
        task, _, _, epoch, seq, kind, sort, _, trace = header.split(b" ")
        said = merged_text(data, ()) if sort == _LATE else data
        yield task, b"%b,%b" % (epoch, seq), kind, sort == b"1", said, trace


def child_of(message: bytes) -> tuple[bytes, bytes] | None:
    """Return a child's id and its message if this one was told on the channel of its parent; None for any other."""
    if not message.startswith(b"+"):
        return None
    child, _, rest = message[1:].partition(b" ")
    return child, rest


def parse(task: bytes, message: bytes) -> LiveEvent:
    """Return the event in a message or history entry. Raises ValueError for what the ingest did not write."""
    header, _, data = message.partition(b"\n")
    prev_epoch, prev_seq, epoch, seq, kind, sort, merged, trace = header.split(b" ")
    prev = None if prev_epoch == b"-" else Position(int(prev_epoch), int(prev_seq))
    at = Position(int(epoch), int(seq))
    return LiveEvent(
        task,
        prev,
        at,
        kind.decode(),
        sort == b"1",
        trace,
        data,
        whole=sort in _WHOLE,
        finished=sort == b"3",
        merged=int(merged),
    )
