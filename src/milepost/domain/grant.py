"""What somebody may watch: decisions only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from milepost.domain.feed_filter import ALL, Filter


@dataclass(frozen=True, slots=True)
class Grant:
    """All of a tenant's tasks when nothing is named; else the one thing that is."""

    task: UUID | None = None
    """It and its descendants."""
    label: tuple[str, str] | None = None
    """Tasks that have this label with this value, but not their descendants unless they have it too. Their feed too."""
    feed: bool = False
    """The feed of the tasks that `filter` is for, and no task by itself."""
    filter: Filter = ALL

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.task is None and self.label is None and not self.feed

    @property
    def descendants(self) -> bool:
        """Whether who may watch a task may watch what is below it."""
        return self.task is not None or self.everything

    def narrowed(self, asked: Filter) -> Filter | None:
        """Return what may be heard of the feed that is asked for; None if nothing."""
        if self.everything:
            return asked
        if self.feed:
            return asked.both(self.filter)
        return None if self.label is None else asked.both(Filter(labels=(self.label,)))

    def covers(self, task: UUID) -> bool | None:
        """Return whether a task may be watched; None if its id alone does not say."""
        if self.everything or task == self.task:
            return True
        return False if self.feed else None

    def covers_members(self, members: Mapping[str, Any]) -> bool | None:
        """Return the same by the members of a task as JSON; None if only its ancestors say, or members are missing."""
        if self.label is not None:
            name, value = self.label
            labels = members.get("labels")
            return None if labels is None else labels.get(name) == value
        if self.task is None:
            return self.everything
        mine = str(self.task)
        if mine in {members.get("id"), members.get("parent_id"), members.get("root_id")}:
            return True
        if "parent_id" not in members or "root_id" not in members:
            return None
        # A task without a parent has no other ancestors; nor has a child of the root.
        return False if members["parent_id"] in {None, members["root_id"]} else None


EVERYTHING = Grant()
