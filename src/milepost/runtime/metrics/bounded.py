"""Bounds on label values that people make up: names of queues and types, topics."""

from collections.abc import Iterable
from typing import Final

OTHER: Final = "other"
"""What stands for all names there is no room for."""
KNOWN_MOST: Final = 200
"""Names of one label in one process; whatever more there are counts as `OTHER`."""
STRANGE_MOST: Final = 50
"""Of them, names that nobody served here when they were first seen: a submitter may make up any number."""


class Names:
    """The names one label may have in this process. A name that was let in stays in, so series do not change hands."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._strange = 0

    def reserve(self, names: Iterable[str]) -> None:
        """Let in names that an operator chose, by starting a worker for them: strangers do not take their places."""
        for name in names:
            if len(self._known) < KNOWN_MOST:
                self._known.add(name)

    def bounded(self, name: str) -> str:
        """Return `name` if it has a place, or gets one now, else `OTHER`."""
        if name in self._known:
            return name
        if self._strange >= STRANGE_MOST or len(self._known) >= KNOWN_MOST:
            return OTHER
        self._strange += 1
        self._known.add(name)
        return name


OPEN: Final = {"queue": Names(), "type": Names(), "topic": Names()}
"""The labels whose values come from outside; those of all others are written in the code."""
