"""The feed: changes of all tasks of the tenant, or of some, for lists and dashboards."""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from milepost.client.fold import Loss
from milepost.client.subscription import position
from milepost.client.waiting import Link, Protocol, Waiting
from milepost_schemas.feed import FeedFilter
from milepost_schemas.position import Position

LIVE: Final = "live"
DROP_AFTER: Final = 32_768
"""With so many changes waiting for a slow reader all are dropped, and it is told to read its list again."""


@dataclass(frozen=True)
class FeedEvent:
    """One change of one task; or, with the kind "live", that every change from now on comes.

    Read the list at "live", then apply changes: `data` is a patch of the task as the API shows it, and a change whose
    `at` is not larger than what you have is old. "live" comes first, and again with `reset` when changes were missed:
    read the list again.
    """

    kind: str
    """One of `EventKind`, or "live"."""
    task: UUID | None = None
    """None with "live"."""
    at: Position | None = None
    data: dict[str, Any] = field(default_factory=dict)
    reset: bool = False


class FeedSubscription(Waiting[FeedEvent]):
    """A place at the feed."""

    def __init__(self, only: FeedFilter | None) -> None:
        super().__init__()
        self._filter = None if only is None else only.model_dump(mode="json", exclude_defaults=True)
        self._began = False

    def asks(self, *, afresh: bool) -> dict[str, Any]:  # noqa: ARG002 - a feed has no positions to go on from
        """Return what to subscribe with."""
        return {"feed": "tasks", **({"filter": self._filter} if self._filter else {})}

    def frame(self, frame: dict[str, Any]) -> Loss | None:
        """Take a `live` or `changes`. Raises Protocol."""
        self.asked_at = None
        try:
            if frame["t"] == "live":
                # After a connection that broke it is the first of the next one, and what came between was missed.
                self._live(reset=self._began)
                self._began = True
                return None
            changes = [
                FeedEvent(each["kind"], UUID(each["task"]), position(each["at"]), each["data"])
                for each in frame["changes"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise Protocol(f"a frame that cannot be read: {error!r}") from error
        if len(self._waiting) + len(changes) > DROP_AFTER:
            self._live(reset=True)
        else:
            for change in changes:
                self._append(change)
        return None

    def _live(self, *, reset: bool) -> None:
        """Tell the reader to read its list; what waits is older than that."""
        down = [item for item in self._waiting if isinstance(item, Link)][-1:]
        self._waiting.clear()
        self._waiting.extend(down)
        self._append(FeedEvent(LIVE, reset=reset))
