"""Reads what never changes of tasks: from Redis, and from Postgres what Redis lacks."""

from collections.abc import Sequence

from pydantic_core import from_json

from milepost.domain.feed_filter import Traits
from milepost.errors import Unavailable
from milepost.live import Snapshots
from milepost.live.snapshots import Wanted, view_of_row
from milepost_notifier.resolver import Key, rows_of
from milepost_notifier.tasks import TaskSource


async def traits_of(snapshots: Snapshots, source: TaskSource, keys: Sequence[Key]) -> dict[Key, Traits | None]:
    """Return the traits of tasks; None for one that does not exist, nothing for one nobody can be asked about now.

    Raises Unavailable when that is so for all.
    """
    found: dict[Key, Traits | None] = {}
    try:
        views = await snapshots.read_many([Wanted(*key) for key in keys])
    except Unavailable:
        views = [None] * len(keys)
    for key, view in zip(keys, views, strict=True):
        if view is not None and (traits := Traits.of(from_json(view.task))) is not None:
            found[key] = traits
    lacking = [key for key in keys if key not in found]
    if not lacking:
        return found
    try:
        rows = await rows_of(source, lacking)
    except Unavailable:
        if not found:
            raise
        return found
    for key in lacking:
        row = rows.get(key)
        found[key] = None if row is None else Traits.of(from_json(view_of_row(*row).task))
    return found
