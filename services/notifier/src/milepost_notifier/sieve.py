"""Finds out which changes of a tenant are of tasks that a filter is for. Pure: who knows tasks is asked by others."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from pydantic_core import from_json

from milepost.domain.feed_filter import Filter, Traits

Change = tuple[bytes, bytes, bytes]
"""Task, kind, and the change as JSON text."""

REMEMBERED: Final = 20_000
"""Tasks of one tenant; more than these are asked for again."""
WAITING_BYTES: Final = 4 * 1024 * 1024
"""More than this waiting for somebody who knows the tasks is dropped."""
_SAYS_NOTHING: Final = b"progress"


class Sieve:
    """Changes of one tenant that wait until it is known of which tasks they are, and what is known of tasks."""

    def __init__(self) -> None:
        self._known: dict[bytes, Traits | None] = {}
        """None: there is no such task."""
        self._filters: dict[tuple[str, ...], dict[Filter, None]] = {}
        self._waiting: deque[Change] = deque()
        self._size = 0

    def add(self, only: Filter) -> None:
        """Take a filter."""
        self._filters.setdefault(only.key, {})[only] = None

    def remove(self, only: Filter) -> bool:
        """Drop a filter; return whether others are left."""
        alike = self._filters.get(only.key, {})
        alike.pop(only, None)
        if not alike:
            self._filters.pop(only.key, None)
        return bool(self._filters)

    def put(self, changes: Iterable[Change]) -> bool:
        """Take changes, in order; return False if too many wait: then all of them are forgotten."""
        for change in changes:
            task, kind, text = change
            if task not in self._known and kind != _SAYS_NOTHING:
                members = from_json(text)["data"]
                if (traits := Traits.of(members)) is not None:
                    self._remember(task, traits)
            self._waiting.append(change)
            self._size += len(text)
        if self._size <= WAITING_BYTES:
            return True
        self.clear()
        return False

    @property
    def stuck(self) -> bool:
        """Whether changes wait until somebody is asked about their tasks; meant for after `take`."""
        return bool(self._waiting)

    def unknown(self, limit: int) -> list[bytes]:
        """Return tasks that somebody has to be asked about, at most so many."""
        return list(islice(dict.fromkeys(task for task, _, _ in self._waiting if task not in self._known), limit))

    def learn(self, found: Mapping[bytes, Traits | None]) -> None:
        """Take the answer about tasks; None for one that is not there."""
        for task, traits in found.items():
            self._remember(task, traits)

    def take(self) -> dict[Filter, list[bytes]]:
        """Return what filters let through, up to the first change of a task that is not known."""
        found: dict[Filter, list[bytes]] = {}
        while self._waiting and self._waiting[0][0] in self._known:
            task, _, text = self._waiting.popleft()
            self._size -= len(text)
            traits = self._known[task]
            for only in self._matching(traits) if traits is not None else ():
                found.setdefault(only, []).append(text)
        return found

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._size = 0

    def _matching(self, task: Traits) -> Iterator[Filter]:
        for key in task.keys():  # noqa: SIM118 - not a dictionary's
            for only in self._filters.get(key, ()):
                if only.matches(task):
                    yield only

    def _remember(self, task: bytes, traits: Traits | None) -> None:
        self._known[task] = traits
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
