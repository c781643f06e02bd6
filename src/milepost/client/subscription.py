"""One watch of one task on a stream: what came and was not taken yet."""

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from milepost.client.events import SNAPSHOT, RunEvent, is_over
from milepost.client.fold import Fold, Loss
from milepost.client.waiting import Protocol, Waiting
from milepost_schemas.event import EventKind
from milepost_schemas.position import Position

MERGE_AFTER: Final = 256
"""With so many events waiting for a slow reader, progress replaces progress."""
DROP_AFTER: Final = 8192
"""With so many, all of them become one snapshot for each task."""


class Subscription(Waiting[RunEvent]):
    """A watch of one task, and with `tree` of its descendants."""

    def __init__(self, task: UUID, tail: int = 0, *, tree: bool = False) -> None:
        """`tail`: so many of the last streamed events of before are wanted too; `tree`: descendants are."""
        super().__init__()
        self.task = task
        self.tree = tree
        self.tail = tail
        self.fold = Fold()
        self.members: dict[str, Fold] = {}
        """Those of descendants, by their ids."""
        self.newest = 0
        """The epoch the task is known to have reached: an end of one before is not the end (somebody retried)."""

    @property
    def over(self) -> bool:
        """Whether the task is."""
        return self.fold.over

    def asks(self, *, afresh: bool) -> dict[str, Any]:
        """Return what to subscribe with."""
        asked: dict[str, Any] = {"task": str(self.task), "tree": self.tree}
        resume = self.fold.resume()
        if resume is not None and not afresh:
            asked["from"] = list(resume)
        if self.tail:
            asked["tail"] = self.tail
        return asked

    def frame(self, frame: dict[str, Any]) -> Loss | None:
        """Take a snap, ev or end; LOST if it has to subscribe again. Raises Protocol."""
        self.asked_at = None
        try:
            outcome = self._fold(frame)
        except (KeyError, TypeError, ValueError) as error:
            raise Protocol(f"a frame that cannot be read: {error!r}") from error
        if isinstance(outcome, RunEvent):
            self.put(outcome)
            return None
        return outcome

    def _tail(self, frame: dict[str, Any]) -> list[RunEvent]:
        found = [
            self.fold.streamed(position(each["at"]), each["kind"], each["data"], frame["task"])
            for each in frame.get("tail") or ()
        ]
        return [event for event in found if event is not None]

    def _fold(self, frame: dict[str, Any]) -> RunEvent | Loss | None:
        at = position(frame["at"])
        kind = frame["t"]
        whose = frame["task"] if kind == "ev" else frame["task"]["id"]
        if whose != str(self.task):
            # Of a child. A plain watch has only its own chain: positions are those of each task.
            return self._member(whose, at, frame) if self.tree and kind != "end" else None
        if kind in {"snap", "end"} and at.epoch < self.newest and is_over(frame["task"]):
            return None
        if kind == "snap":
            for event in self._tail(frame):
                self.put(event)
            return self.fold.snapshot(at, frame["task"], frame.get("traceparent"), frame.get("age"))
        if kind == "end":
            return self.fold.end(at, frame["task"])
        prev = frame["prev"]
        return self.fold.event(
            at,
            None if prev is None else position(prev),
            frame["kind"],
            frame["data"],
            frame.get("merged") or 0,
            frame.get("traceparent"),
        )

    def _member(self, whose: str, at: Position, frame: dict[str, Any]) -> RunEvent | Loss | None:
        """Take a snap or ev of a descendant."""
        fold = self.members.setdefault(whose, Fold())
        if fold.over and fold.at is not None and at.epoch > fold.at.epoch:  # begins anew
            fold = self.members[whose] = Fold(fold.view, fold.at, fold.sent)
        trace = frame.get("traceparent")
        if frame["t"] == "snap":
            return fold.snapshot(at, frame["task"], trace, frame.get("age"))
        prev = None if frame["prev"] is None else position(frame["prev"])
        if prev is None and "id" in frame["data"]:  # the first word of it: `data` is the whole task
            fold.view, fold.sent = fold.view or {}, None
        return fold.event(at, prev, frame["kind"], frame["data"], frame.get("merged") or 0, trace)

    def put(self, event: RunEvent) -> None:
        """Hand an event to the reader; a reader that is far behind gets fewer, never other ones."""
        waiting = self._waiting
        if len(waiting) >= DROP_AFTER and not event.last:
            *before, event = _last_of_each([item for item in waiting if isinstance(item, RunEvent)] + [event])
            waiting.clear()
            waiting.extend(before)
        elif len(waiting) >= MERGE_AFTER and event.kind == EventKind.PROGRESS:
            last = waiting[-1]
            same = isinstance(last, RunEvent) and last.view.get("id") == event.view.get("id")
            if same and isinstance(last, RunEvent) and last.kind == EventKind.PROGRESS:
                waiting.pop()
                event = replace(event, data={**last.data, **event.data}, merged=event.merged + last.merged + 1)
        self._append(event)


def _last_of_each(events: list[RunEvent]) -> list[RunEvent]:
    """Return one event for each task, with what the others said: the whole task."""
    last: dict[Any, RunEvent] = {}
    for event in events:
        id_ = event.view.get("id")
        merged = event.merged if id_ not in last else last.pop(id_).merged + event.merged + 1
        last[id_] = replace(event, merged=merged)
    return [event if event.last else replace(event, kind=SNAPSHOT, data={}) for event in last.values()]


def position(value: Any) -> Position:
    """Read `[epoch, seq]`. Raises ValueError or TypeError."""
    epoch, seq = value
    if type(epoch) is not int or type(seq) is not int:
        raise TypeError(f"{value!r} is not a position")
    return Position(epoch, seq)
