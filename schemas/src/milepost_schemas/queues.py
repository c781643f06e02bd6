"""Which names queues may have together: each is in a topic's name, where Kafka takes `.` and `_` for the same."""

from collections.abc import Iterable
from itertools import combinations


def folded(name: str) -> str:
    """Return a name as Kafka compares it."""
    return name.replace("_", ".")


def queue_problem(name: str) -> str | None:
    """Return why a queue cannot have this name; None if it can."""
    for lane in ("high", "low"):
        if folded(name).endswith(f".{lane}"):
            return f"a queue cannot be named {name!r}: its topic would be the {lane} lane of {name[: -len(lane) - 1]!r}"
    return None


def queues_problem(names: Iterable[str]) -> str | None:
    """Return why queues of these names cannot be there together; None if they can."""
    every = sorted(set(names))
    for name in every:
        if problem := queue_problem(name):
            return problem
    for one, other in combinations(every, 2):
        if folded(one) == folded(other):
            return f"queues {one!r} and {other!r} would collide: Kafka takes '.' and '_' in topics for the same"
    return None
