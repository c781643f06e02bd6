"""What a session wants of whoever drives it."""

from typing import NamedTuple
from uuid import UUID

from milepost.domain.feed_filter import Filter
from milepost.domain.grant import Grant
from milepost_schemas.position import Position


class Lookup(NamedTuple):
    """Attach to the task's channel, then read it, then call `joined` (or `refused`) with the same number."""

    join: int
    task: UUID
    since: Position | None
    fresh: bool
    tail: int = 0
    """So many of the last streamed events are wanted too."""
    grant: Grant | None = None
    """Not None: it has to be shown first that this covers the task."""


class Descend(NamedTuple):
    """Ask for the children of the task, then call `children` with the same number.

    Its channel is attached unless it is over: so children made later are told there.
    """

    question: int
    task: UUID


class Forget(NamedTuple):
    """Nobody on this connection watches the task any more."""

    task: UUID


class Listen(NamedTuple):
    """Call `feed_on` when the tenant's feed is heard, then `changes` for what it says of these tasks (None: of all)."""

    only: Filter | None = None


class Ignore(NamedTuple):
    """Nobody on this connection listens to that any more."""

    only: Filter | None = None


Intent = Lookup | Descend | Forget | Listen | Ignore
