"""When a consumer stands still: there is something to read, it is asked for, and nothing comes.

aiokafka consumers do that now and then after a broker was away: a fetcher that waits for what never happens, a group
that is never joined again. Nothing raises; only the lag tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aiokafka import TopicPartition

LOOK_EVERY_S: Final = 2.5
PATIENCE_S: Final = 10.0
"""A partition with lag stands still when the reader asked for so long and its position did not move."""
JOIN_PATIENCE_S: Final = 60.0
"""A rebalance waits for every member, so it may take several session time-outs; one that takes longer never ends."""
BLIND_PATIENCE_S: Final = 30.0
"""No answer about the ends for so long: a new client asks the bootstrap addresses again, whose hosts may have moved."""


class Look(NamedTuple):
    """What one look at a consumer showed."""

    at: float
    """Seconds, by a monotonic clock."""
    asked_s: float
    """For how long, all in all, the caller has taken whatever there was; stands while it has no room for more."""
    joined: bool
    """Whether the group has given us our partitions (none is an answer, too)."""
    positions: Mapping[TopicPartition, int | None]
    """Of the assigned partitions, the offset to be handed out next; None: not known yet."""
    ends: Mapping[TopicPartition, int] | None
    """Offsets behind the last records; None: the broker did not say."""


class Mark(NamedTuple):
    """Where a partition with lag stood, and the `asked_s` of the first look that found it there."""

    position: int | None
    asked_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What one look leaves for the next."""

    marks: Mapping[TopicPartition, Mark] = field(default_factory=dict)
    unjoined_since: float | None = None
    blind_since: float | None = None


def judge(memory: Memory, look: Look, patience_s: float = PATIENCE_S) -> tuple[Memory, str | None]:
    """Return what to remember and, if the consumer has to be rebuilt, why.

    It never has to while its caller does not read, during a rebalance, or because some partitions are slower than
    others: a position that moved, or was assigned anew, starts the wait again.
    """
    if not look.joined:
        since = look.at if memory.unjoined_since is None else memory.unjoined_since
        waited = look.at - since
        why = f"the group gave it no partitions for {waited:.0f} s" if waited >= JOIN_PATIENCE_S else None
        return Memory(unjoined_since=since), why
    if look.ends is None:
        since = look.at if memory.blind_since is None else memory.blind_since
        waited = look.at - since
        why = f"no broker answered it for {waited:.0f} s" if waited >= BLIND_PATIENCE_S else None
        # Without a broker nothing can move, so that time does not count.
        return Memory(blind_since=since), why
    marks: dict[TopicPartition, Mark] = {}
    for partition, position in look.positions.items():
        end = look.ends.get(partition)
        if end is None or (position or 0) >= end:
            continue
        mark = memory.marks.get(partition)
        if mark is None or mark.position != position:
            mark = Mark(position, look.asked_s)
        marks[partition] = mark
    still = sorted(partition for partition, mark in marks.items() if look.asked_s - mark.asked_s >= patience_s)
    return Memory(marks), _why(still, look) if still else None


def _why(still: list[TopicPartition], look: Look) -> str:
    worst = still[0]
    position, end = look.positions[worst], (look.ends or {})[worst]
    more = f" and {len(still) - 1} more" if len(still) > 1 else ""
    return f"{worst.topic}/{worst.partition}{more} stands at {position} of {end} although it is read"
