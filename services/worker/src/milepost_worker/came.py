"""How tasks come to a worker."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from milepost.log.reader import Consumed


class How(StrEnum):
    """How a task was claimed."""

    PUSH = "push"
    STEAL = "steal"
    TURN = "turn"


class Came(NamedTuple):
    """How some were claimed, when that began, and by what hints."""

    how: How
    began_ns: int = 0
    records: Mapping[UUID, Consumed] = {}
    """If spans are exported."""
    group: str = ""


PUSH: Final = Came(How.PUSH)
TURN: Final = Came(How.TURN)
STEAL: Final = Came(How.STEAL)
