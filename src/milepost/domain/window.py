"""How many hints of a tenant's tasks may be on their way in a queue, by what one process knows. Pure.

Kafka is first in, first out, so it must not hold a backlog: beyond the window hints are withheld, and workers, whose
slots are taken then, get the tasks from Postgres by turns. A hint that was withheld is like one that was lost, so
nothing here has to be exact, nor to outlive the process.
"""

from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

FLOOR: Final = 256
"""What is granted unseen, and where few slots serve a queue: a burst that short tasks are through with at once."""
TIMES: Final = 2
"""The window is so many times the slots that serve the queue."""
KEPT: Final = 2_048
"""So many withheld hints are remembered at least: a burst that comes before anybody knows what slots there are."""

H = TypeVar("H")


def window(slots: int) -> int:
    """Return how many tasks of a tenant may wait in a queue with hints on their way."""
    return max(FLOOR, TIMES * slots)


class Room(NamedTuple):
    """Of a tenant in a queue: how many tasks wait, counted up to the window, and the slots that serve the queue."""

    queued: int
    slots: int


class Account(Generic[H]):
    """A tenant in a queue: the room it has, as far as this process knows, and the hints it withholds."""

    def __init__(self) -> None:
        self.size = FLOOR
        self._room = FLOOR
        self._spent = 0
        """Since the last question was asked."""
        self._withheld: deque[H] = deque(maxlen=KEPT)

    def admits(self, hint: H) -> bool:
        """Whether a hint may go; else it is kept, in place of the oldest if there are too many."""
        self._spent += 1
        self._room -= 1
        if self._room >= 0:
            return True
        self._withheld.append(hint)
        return False

    @property
    def low(self) -> bool:
        """Whether it is time to ask what room there is."""
        return self._room * 2 < self.size

    @property
    def pressed(self) -> bool:
        """Whether hints are, or soon may be, withheld: those that go now say so, for workers to look for the others."""
        return self._room * 4 < self.size

    @property
    def withholds(self) -> bool:
        """Whether there are hints that may go yet."""
        return bool(self._withheld)

    def asked(self) -> None:
        """Note that somebody goes to look: what is spent from now on may not be in the answer."""
        self._spent = 0

    def told(self, queued: int, slots: int) -> list[H]:
        """Learn how many tasks wait (counted up to the window) and what slots there are; return hints to send now.

        Of the tasks whose hints are withheld no more wait than wait in all, and most likely those that came last.
        """
        self.size = window(slots)
        waiting = queued + self._spent
        self._room = self.size - waiting
        if self._room <= 0:
            self._withheld = deque(self._withheld, maxlen=max(KEPT, self.size))
            return []
        free = list(self._withheld)[-waiting:] if waiting else []
        self._withheld.clear()
        return free

    def newest(self) -> H:
        """Give the hint that was withheld last, though there is no room for it. Raises IndexError without any.

        What fills the window may be of a type nobody runs, paused or behind a limit: workers that follow hints have to
        be told now and then that others wait.
        """
        return self._withheld.pop()
