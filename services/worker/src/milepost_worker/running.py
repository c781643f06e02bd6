"""The attempts a worker runs now, and the slots they take."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from uuid import UUID

from milepost.store import Held
from milepost_worker.attempt import Attempt, StopReason
from milepost_worker.execution.leftovers import Leftovers

REMEMBERED = 10_000
"""So many attempts whose lease was lost; their rows are swept within a lease, and most within seconds."""


class Running:
    """Attempts by task id; `free` slots are what may be claimed."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.leftovers = Leftovers(self._freed)
        self._attempts: dict[UUID, Attempt] = {}
        self._reserved = 0
        self._let_go: OrderedDict[Held, None] = OrderedDict()
        self._changed = asyncio.Event()

    @property
    def free(self) -> int:
        """Slots that nobody has taken or reserved.

        A handler that goes on without its task keeps its slot, so that they do not pile up; half of the slots always
        stay in use, so that the worker never stands still.
        """
        return self.slots - min(len(self.leftovers), self.slots // 2) - len(self._attempts) - self._reserved

    def reserve(self, wanted: int) -> int:
        """Keep up to `wanted` free slots for a claim under way and return how many; give them back by `unreserve`."""
        taken = max(0, min(self.free, wanted))
        self._reserved += taken
        return taken

    def unreserve(self, slots: int) -> None:
        """Give reserved slots back."""
        self._reserved -= slots
        self._changed.set()

    def _freed(self) -> None:
        self._changed.set()

    def add(self, attempt: Attempt) -> None:
        """Take a slot."""
        self._attempts[attempt.id] = attempt

    def remove(self, attempt: Attempt) -> None:
        """Free its slot."""
        if self._attempts.get(attempt.id) is attempt:
            del self._attempts[attempt.id]
        if attempt.reason is StopReason.LEASE_LOST:
            self._let_go[attempt.held] = None
            if len(self._let_go) > REMEMBERED:
                self._let_go.popitem(last=False)
        self._changed.set()

    def get(self, task: UUID) -> Attempt | None:
        """Return the attempt of a task; None if it does not run here."""
        return self._attempts.get(task)

    def knew(self, held: Held) -> bool:
        """Whether a task runs here, or did under that epoch until its lease was lost."""
        attempt = self._attempts.get(held.id)
        return (attempt is not None and attempt.held == held) or held in self._let_go

    async def has_free(self) -> None:
        """Wait until there is a free slot."""
        while self.free <= 0:
            self._changed.clear()
            await self._changed.wait()

    async def empty(self) -> None:
        """Wait until nothing runs."""
        while self._attempts or self._reserved:
            self._changed.clear()
            await self._changed.wait()

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._attempts.values()))

    def __len__(self) -> int:
        return len(self._attempts)
