"""What one subscription knows of a tree of tasks: its root, the descendants it tells of, and those that ended."""

from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from milepost_notifier.outbox import Subscription
from milepost_schemas.position import Position


class Tree:
    """The members of one subscription. Each is followed by a chain of positions of its own."""

    __slots__ = ("_ended", "_open", "full", "root")

    def __init__(self, root: Subscription) -> None:
        self.root = root
        self.full = False
        """The client knows that there are more members than it is told of."""
        self._open: dict[UUID, Subscription] = {}
        self._ended: dict[UUID, Position] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    def __iter__(self) -> Iterator[Subscription]:
        """Yield what is followed now, the root first."""
        yield self.root
        yield from self._open.values()

    def lacks(self, task: UUID, epoch: int) -> bool:
        """Return whether a task that has reached `epoch` is not told of: it is new, or began anew after its end."""
        if task == self.root.task or task in self._open:
            return False
        ended = self._ended.get(task)
        return ended is None or ended.epoch < epoch

    def ended(self, task: UUID) -> Position | None:
        """Return where a member was when it ended; None if it did not."""
        return self._ended.get(task)

    def some_ended(self, number: int) -> list[UUID]:
        """Return so many of those that ended, others the next time."""
        some = list(islice(self._ended, number))
        for task in some:
            self._ended[task] = self._ended.pop(task)
        return some

    def hidden(self, never: Position) -> list[UUID]:
        """Return those that are said to have ended at `never`."""
        return [task for task, at in self._ended.items() if at == never]

    def forget(self, task: UUID) -> None:
        """Take that nothing is known of one that ended."""
        del self._ended[task]

    def add(self, member: Subscription) -> None:
        """Follow a member from now on."""
        self._ended.pop(member.task, None)
        self._open[member.task] = member

    def remove(self, member: Subscription, ended: Position | None) -> None:
        """Follow a member no longer; `ended` is where it ended, None if it did not."""
        del self._open[member.task]
        if ended is not None:
            self._ended[member.task] = ended
