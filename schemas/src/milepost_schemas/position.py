"""Where in a task's history something happened."""

from typing import Annotated, NamedTuple

from annotated_types import Ge, Le

POSTGRES_INT_MAX = 2**31 - 1


class Position(NamedTuple):
    """`(epoch, seq)`: compared as a pair, never by a clock. Written as `[epoch, seq]` in JSON.

    Inside one epoch exactly one party writes and numbers its events 0, 1, 2 …
    """

    epoch: Annotated[int, Ge(0), Le(POSTGRES_INT_MAX)]
    seq: Annotated[int, Ge(0), Le(POSTGRES_INT_MAX)]
