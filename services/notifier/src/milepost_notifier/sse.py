"""Frames as server-sent events: a line with the position, a line with the kind, the frame itself. Pure."""

import re
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import orjson

from milepost_notifier.outbox import Entry
from milepost_schemas.position import Position

HEARTBEAT: Final = b":\n\n"
_HEAD: Final = re.compile(rb'\{"t":"(\w+)"(?:,"id":\d+,"at":\[(\d+),(\d+)\])?')
_SILENT: Final = frozenset({"welcome", "ping", "pong"})
"""What only a WebSocket needs."""
_BESIDE: Final = _SILENT | {"refresh"}
"""What says nothing of what was asked for."""
LIVE_ID: Final = "live"
"""A feed has no positions; this only says that the client was here before."""
_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")
"""JSON may have line breaks between its words, where a space says the same; here they would end the data."""


def text_of(entry: Entry, task: UUID | None, *, over: bool) -> bytes:
    """Return an entry of the outbox as an event, or nothing.

    `task` is the one that was asked for: only from its positions can a client come back. `over`: its end is queued.
    Then that position is told by the end alone, so that who has it has the end, and nobody breaks off just before it.
    """
    kind, at = _told(entry)
    if kind in _SILENT:
        return b""
    frame = entry.encoded()
    name = b""
    if at is not None and entry.sub is not None and entry.sub.task == task:
        last = over and kind != "end" and at == entry.sub.position
        name = b"" if last else b"id: %d:%d\n" % at
    elif kind == "live":
        name = b"id: %b\n" % LIVE_ID.encode()
    wait = retry(orjson.loads(frame)["after"]) if kind == "bye" else b""
    return b"%b%bevent: %b\ndata: %b\n\n" % (wait, name, kind.encode(), frame.translate(_BREAKS))


def only_end(entries: Iterable[Entry], since: Position) -> bool:
    """Return whether there is nothing to say but the end, and the client comes back from there."""
    told = [(kind, at) for kind, at in map(_told, entries) if kind not in _BESIDE]
    return told == [("end", since)]


def retry(after_ms: int) -> bytes:
    """Return the line that says how long a client waits before it comes back."""
    return b"retry: %d\n" % after_ms


def closed(code: int, reason: str) -> bytes:
    """Return as an event what a WebSocket says by its close code."""
    return b"event: close\ndata: %b\n\n" % orjson.dumps({"t": "close", "code": code, "reason": reason})


def _told(entry: Entry) -> tuple[str, Position | None]:
    """Return the kind of an entry and the position it takes the client to."""
    if entry.event is not None:
        return entry.event.kind, entry.event.at
    head = _HEAD.match(entry.frame)
    assert head is not None  # noqa: S101 - the session writes them all
    return head[1].decode(), None if head[2] is None else Position(int(head[2]), int(head[3]))
