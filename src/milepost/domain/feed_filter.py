"""Which tasks somebody listens to: decisions only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from milepost_schemas.feed import FeedFilter

_NEEDED = ("type", "queue", "labels", "root_id")


class Traits(NamedTuple):
    """What never changes of a task, as far as a filter asks for it."""

    type: str
    queue: str
    labels: Mapping[str, str]
    parent: str | None
    root: str

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self | None:
        """Return those of a task by its members as JSON; None if some are missing."""
        if any(members.get(name) is None for name in _NEEDED) or "parent_id" not in members:
            return None
        return cls(members["type"], members["queue"], members["labels"], members["parent_id"], members["root_id"])

    def keys(self) -> Iterator[tuple[str, ...]]:
        """Yield the key of every filter that may match."""
        yield from (("label", name, value) for name, value in self.labels.items())
        if self.parent is not None:
            yield "parent", self.parent
        yield "root", self.root
        yield "type", self.type
        yield "queue", self.queue
        yield ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Tasks for which everything that is not None is so; ids as text, labels in order of their names."""

    type: str | None = None
    queue: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    parent: str | None = None
    root: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """One thing that has to be so, the rarest: hundreds of filters are not tried one by one, see `Traits.keys`."""
        if self.labels:
            return "label", *self.labels[0]
        said = (("parent", self.parent), ("root", self.root), ("type", self.type), ("queue", self.queue))
        return next(((name, value) for name, value in said if value is not None), ())

    def asked(self) -> dict[str, Any]:
        """Return it as a client asks for it, JSON."""
        said = {"type": self.type, "queue": self.queue, "parent": self.parent, "root": self.root}
        found: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        return {**found, "labels": dict(self.labels)} if self.labels else found

    def both(self, other: Self) -> Self | None:
        """Return the filter for tasks that are of both; None if there can be none."""
        members: dict[str, Any] = {"labels": tuple(sorted({*self.labels, *other.labels}))}
        if len(dict(members["labels"])) < len(members["labels"]):
            return None
        for name in ("type", "queue", "parent", "root"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None and mine != theirs:
                return None
            members[name] = theirs if mine is None else mine
        return replace(self, **members)

    def matches(self, task: Traits) -> bool:
        """Return whether a task is one of them."""
        return (
            (self.type is None or self.type == task.type)
            and (self.queue is None or self.queue == task.queue)
            and (self.parent is None or self.parent == task.parent)
            and (self.root is None or self.root == task.root)
            and all(task.labels.get(name) == value for name, value in self.labels)
        )


ALL = Filter()
"""Lets everything through."""


def filter_of(asked: FeedFilter | None) -> Filter:
    """Return what a client asked for."""
    if asked is None:
        return ALL
    parent, root = (None if task is None else str(task) for task in (asked.parent, asked.root))
    return Filter(asked.type, asked.queue, tuple(sorted(asked.labels.items())), parent, root)
