"""An event as it travels through Redis: a line of header, then the JSON text that goes to browsers as it is.

    PREV_EPOCH PREV_SEQ EPOCH SEQ KIND ALONE TRACEPARENT
    {…}

`PREV_*` is the position the snapshot had before (`-` for none): who watches sees at once that something was missed.
`ALONE` is 1 when the data holds nothing but progress, so that a later event of the same sort replaces it entirely.
Text is spliced, never parsed and written again: thousands of watchers get the bytes the ingest made.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic_core import to_json

from milepost_schemas.event import Event, EventKind
from milepost_schemas.position import Position

TERMINAL: Final = frozenset(kind.value for kind in EventKind if kind.terminal)
STREAMED: Final = frozenset(kind.value for kind in EventKind if not kind.patches)
SEED: Final = "seed"
"""Not an event: the snapshot was moved forward from Postgres."""
MEMBERS_MAX: Final = 256
_PROGRESS_ONLY: Final = frozenset({"progress", "epoch"})


def json_text(value: Any) -> bytes:
    """Return `value` as JSON; integers of any size, NaN as null."""
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except TypeError:
        return to_json(value, inf_nan_mode="null")


def members_of(data: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the members of a task or patch with their values as JSON, without names that are ours (`@…`).

    Raises ValueError if there are more than a task can have.
    """
    if len(data) > MEMBERS_MAX:
        raise ValueError(f"a task has at most {MEMBERS_MAX} members, this has {len(data)}")
    return [(name, json_text(value)) for name, value in data.items() if not name.startswith("@")]


def object_text(members: list[tuple[str, bytes]]) -> bytes:
    """Return a JSON object of members whose values are JSON already."""
    return b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(name), value) for name, value in members)


def is_progress_only(event: Event) -> bool:
    """Whether a later event of the same sort says everything this one does."""
    return event.kind is EventKind.PROGRESS and event.data.keys() <= _PROGRESS_ONLY


def message_of(event: Event, data: bytes) -> bytes:
    """Return the message without its first two words, which only Redis knows when it applies the event."""
    return b"%d %d %b %d %b\n%b" % (
        event.at.epoch,
        event.at.seq,
        event.kind.value.encode(),
        is_progress_only(event),
        (event.traceparent or "-").encode(),
        data,
    )


class LiveEvent:
    """One event on its way to browsers. `head` and `tail` are the parts of its frame that all watchers share."""

    __slots__ = ("alone", "at", "data", "head", "kind", "prev", "size", "tail")

    def __init__(
        self, task: bytes, prev: Position | None, at: Position, kind: str, alone: bool, trace: bytes, data: bytes
    ) -> None:
        self.prev = prev
        self.at = at
        self.kind = kind
        self.alone = alone
        self.data = data
        self.head = b',"task":"%b","at":[%d,%d],"prev":' % (task, at.epoch, at.seq)
        self.tail = b',"kind":"%b","data":%b' % (kind.encode(), data)
        if trace != b"-":
            self.tail += b',"traceparent":"%b"' % trace
        self.size = len(self.head) + len(self.tail) + 40

    @property
    def terminal(self) -> bool:
        """Whether it ends the task."""
        return self.kind in TERMINAL

    @property
    def droppable(self) -> bool:
        """Whether a snapshot later makes up for it: true of progress and of what is streamed, never of lifecycle."""
        return self.kind == "progress" or self.kind in STREAMED

    def continues(self, position: Position) -> bool:
        """Return whether no event lies between `position` and this one.

        Inside an epoch the numbers say so. Only Redis knows which event was the last of an epoch: a new one continues
        the position if the snapshot had not got further.
        """
        if self.at == (position.epoch, position.seq + 1):
            return True
        return self.at == (position.epoch + 1, 0) and self.prev is not None and self.prev <= position

    def __repr__(self) -> str:
        return f"<{self.kind} {tuple(self.at)}>"


def parse(task: bytes, message: bytes) -> LiveEvent:
    """Return the event in a message or history entry. Raises ValueError for what the ingest did not write."""
    header, _, data = message.partition(b"\n")
    prev_epoch, prev_seq, epoch, seq, kind, alone, trace = header.split(b" ")
    prev = None if prev_epoch == b"-" else Position(int(prev_epoch), int(prev_seq))
    return LiveEvent(task, prev, Position(int(epoch), int(seq)), kind.decode(), alone == b"1", trace, data)
