"""What a look at something gave."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line: what was looked at, whether it is well, what was seen, what to do if it is not."""

    name: str
    ok: bool
    detail: str
    advice: str | None = None
