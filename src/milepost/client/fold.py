"""What a watcher makes of the frames it gets. Pure: no socket, no clock."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from milepost.client.events import SNAPSHOT, RunEvent, is_over
from milepost_schemas.event import EventKind
from milepost_schemas.position import Position

_BESIDE = frozenset(kind.value for kind in EventKind if not kind.patches)
_TERMINAL = frozenset(kind.value for kind in EventKind if kind.terminal)


class Loss(Enum):
    """That something was lost on the way: subscribe again."""

    LOST = "lost"


LOST = Loss.LOST


@dataclass(slots=True)
class Fold:
    """One task as a subscription sees it: the fold of its events over its last snapshot.

    `at` is the largest position seen: what is not beyond it is a copy and is dropped. `sent` is the position the
    server sent last to this subscription, which the next event must name as its `prev`. The two differ after a
    snapshot that is older than what was seen before, such as one from Postgres after Redis lost its memory. `links` are
    laid over views that have none.
    """

    view: dict[str, Any] | None = None
    at: Position | None = None
    sent: Position | None = None
    over: bool = False
    links: dict[str, Any] | None = None
    _polled: dict[str, Any] | None = None
    """What the API showed last since the stream said something."""

    def snapshot(
        self, at: Position, view: dict[str, Any], traceparent: str | None = None, age: float | None = None
    ) -> RunEvent | None:
        """Take a whole task at a position; None if it says nothing new. `age`: seconds since its last event."""
        self.sent, self._polled = at, None
        if self.over or (self.at is not None and at <= self.at and not is_over(view)):
            return None
        return self._show(SNAPSHOT, max(at, self.at or at), view, traceparent, age)

    def streamed(self, at: Position, kind: str, data: dict[str, Any], view: dict[str, Any]) -> RunEvent | None:
        """Take an event from the tail of a snapshot that is about to be taken and has `view`; None for a copy."""
        if self.over or (self.at is not None and at <= self.at):
            return None
        return RunEvent(kind, at, self._linked(view), data)

    def event(
        self,
        at: Position,
        prev: Position | None,
        kind: str,
        data: dict[str, Any],
        merged: int = 0,
        traceparent: str | None = None,
    ) -> RunEvent | Loss | None:
        """Take an event; None for a copy, LOST if one before it is missing."""
        if self.over:
            return None
        if self.view is None or prev != self.sent:
            # A copy of what was seen says nothing, not even that something is missing.
            return None if self.at is not None and at <= self.at else LOST
        self.sent, self._polled = at, None
        if self.at is not None and at <= self.at:
            return None
        self.at = at
        if kind in _TERMINAL:
            self.view = {**self.view, "epoch": at.epoch, "state": kind, **data}
        elif kind not in _BESIDE:
            self.view = {**self.view, "epoch": at.epoch, **data}
        self.over = is_over(self.view)
        # Whatever it was called: an event after which the task is over is the last one.
        kind = self.view["state"] if self.over else kind
        return RunEvent(kind, at, self.view, data, merged, traceparent, age=0.0)

    def end(self, at: Position, view: dict[str, Any]) -> RunEvent | None:
        """Take the word that the task is over; None if that is known."""
        self.sent = at
        if self.over or not is_over(view):
            return None
        return self._show(SNAPSHOT, max(at, self.at or at), view, None)

    def polled(self, view: dict[str, Any]) -> RunEvent | None:
        """Take the task as the API shows it while there is no stream; None if nothing changed.

        The API may be some seconds behind the stream within an epoch. So what it shows first after the stream said
        something, in the epoch the stream had reached, is only what later answers are compared with.
        """
        if self.over:
            return None
        before, self._polled = self._polled, view
        epoch = view["epoch"]
        if is_over(view):
            seq = self.at.seq if self.at is not None and self.at.epoch == epoch else 0
            return self._show(SNAPSHOT, Position(epoch, seq), view, None)
        if self.at is None or self.view is None or epoch > self.at.epoch:
            return self._show(SNAPSHOT, Position(epoch, 0), view, None)
        same_state = view.get("state") == self.view.get("state")
        if epoch < self.at.epoch or view == before or (before is None and same_state):
            return None
        return self._show(SNAPSHOT, self.at, view, None)

    def resume(self) -> Position | None:
        """Return where a new subscription goes on (None: from a snapshot)."""
        self.sent = self.at
        return self.at

    def _show(
        self, kind: str, at: Position, view: dict[str, Any], traceparent: str | None, age: float | None = None
    ) -> RunEvent:
        view = self._linked(view)
        self.view, self.at = view, at
        self.over = is_over(view)
        return RunEvent(view["state"] if self.over else kind, at, view, traceparent=traceparent, age=age)

    def _linked(self, view: dict[str, Any]) -> dict[str, Any]:
        return {**view, "links": self.links} if view.get("links") is None and self.links is not None else view
