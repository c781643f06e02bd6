"""How tasks of tests keep the diary: if `DIARY` names a file, executions are noted in it."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from milepost import Context

VARIABLE = "DIARY"


def diary(ctx: Context, every_s: float) -> AbstractContextManager[Callable[[], None]]:
    """Note begin and end; call what this yields at least every `every_s` seconds in between."""
    path = os.environ.get(VARIABLE)
    if not path:
        return nullcontext(_nothing)
    from milepost.audit.diary import diary_of  # older versions, which run these tasks too, have none

    return diary_of(ctx, Path(path), every_s)


def _nothing() -> None:
    """Keep no diary."""
