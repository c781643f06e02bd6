"""Where a blocked loop stands: looked up from another thread, for a log line and for the task's error."""

import asyncio
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from milepost_worker.attempt import Attempt

STACK_FRAMES = 12


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What the loop's thread does now. `attempt` is None when nobody can say whose code it is."""

    attempt: Attempt | None
    place: str
    """The innermost line, and the handler's own when that is another: `FILE:LINE in FUNCTION`."""
    stack: list[str]
    """Innermost last, at most `STACK_FRAMES`."""


def whereabouts(loop: asyncio.AbstractEventLoop, thread: int, attempts: Iterable[Attempt]) -> Whereabouts:
    """Look where the thread with that ident, which runs `loop`, stands."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, in spite of its name
    current = asyncio.current_task(loop)
    attempt = next((each for each in attempts if current is not None and each.runs_in(current)), None)
    if frame is None:
        return Whereabouts(attempt, "an unknown place", [])
    stack = [f"{line.filename}:{line.lineno} in {line.name}" for line in traceback.extract_stack(frame)]
    return Whereabouts(attempt, _place(frame, attempt), stack[-STACK_FRAMES:])


def _place(frame: FrameType, attempt: Attempt | None) -> str:
    innermost = _line(frame)
    if attempt is None:
        return innermost
    file = _code_of(attempt.definition.handler).co_filename
    each: FrameType | None = frame
    while each is not None and each.f_code.co_filename != file:
        each = each.f_back
    if each is None or each is frame:
        return innermost
    return f"{innermost}, called from {_line(each)}"


def _code_of(handler: Any) -> Any:
    """Return the code of a function, also of one that is wrapped."""
    while hasattr(handler, "__wrapped__"):
        handler = handler.__wrapped__
    return getattr(handler, "__code__", _code_of.__code__)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
