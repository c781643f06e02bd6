"""Whose turn it is: how free slots are shared among those who have tasks waiting. Pure.

Slots go round over queues, in a queue over its tenants, and of a tenant to what is most urgent; among what is as urgent
(types, and keys within a type) they go round again. Who was served longest ago is next, and a newcomer is before all:
a tenant with 100,000 tasks delays another's first by no more than it takes a slot to become free.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

REMEMBERED: Final = 10_000
"""So many turns are remembered; who is forgotten counts as new."""

Who = TypeVar("Who", bound=Hashable)


class Group(NamedTuple):
    """Queued tasks among which age alone decides. `key` is '' for tasks without one."""

    queue: str
    tenant: str
    priority: int
    type: str
    key: str


class Share(NamedTuple):
    """So many slots are for a group."""

    group: Group
    slots: int


class Turns:
    """Remembers who was served when, and shares out what is free."""

    def __init__(self) -> None:
        self._served: dict[Hashable, int] = {}
        self._now = 0

    def share(self, waiting: Iterable[Group], slots: int, room: Mapping[Group, int] | None = None) -> list[Share]:
        """Return who gets how many of `slots`, next one first; nobody knows how many tasks a group has.

        `room`: the most that some groups may have; those it does not name may have any number.
        """
        queues: dict[str, dict[str, list[Group]]] = {}
        for group in waiting:
            queues.setdefault(group.queue, {}).setdefault(group.tenant, []).append(group)
        shares: list[Share] = []
        for queue, for_queue in self._split(queues, slots):
            tenants = queues[queue]
            for (_, tenant), for_tenant in self._split([(queue, name) for name in tenants], for_queue):
                first = min(group.priority for group in tenants[tenant])
                urgent = [group for group in tenants[tenant] if group.priority == first]
                shares += [Share(*each) for each in self._split(urgent, for_tenant)]
        if room is not None:
            shares = [Share(group, min(some, room.get(group, some))) for group, some in shares]
        return [each for each in shares if each.slots > 0]

    def _split(self, those: Iterable[Who], slots: int) -> list[tuple[Who, int]]:
        """Share slots evenly; what is left over goes to those that were served longest ago."""
        order = sorted(those, key=lambda who: self._served.get(who, 0))
        each, more = divmod(slots, len(order)) if order else (0, 0)
        return [(who, each + (place < more)) for place, who in enumerate(order) if each or place < more]

    def served(self, groups: Sequence[Group]) -> None:
        """Note that tasks of these groups were taken."""
        for group in groups:
            self._now += 1
            for who in (group.queue, (group.queue, group.tenant), group):
                # Last in the order of the dict, too, so that the first are those to be forgotten.
                self._served.pop(who, None)
                self._served[who] = self._now
        while len(self._served) > REMEMBERED:
            del self._served[next(iter(self._served))]
