"""How an attempt ended, before anybody decided what follows from it."""

import math
import traceback
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from milepost.domain.retry import LONGEST_S, RetryPolicy
from milepost.errors import Permanent, RetryAfter
from milepost_schemas import TaskError

MESSAGE_CHARS = 2_000
TRACEBACK_CHARS = 4_000
TOTAL_TIMEOUT = "TotalTimeout"
DELAY_MOST_S = LONGEST_S


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned; `result` is its JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, or was ended; `delay` is what it asked for with RetryAfter, None if it did not."""

    error: TaskError
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler ended because somebody had asked the task to stop."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The task is not ours any more, or goes back to the queue: the outcome is nobody's."""

    ended: bool = True
    """Whether the handler has ended; False for one that cannot be ended and goes on."""


Outcome = Succeeded | Failed | Stopped | Dropped


def clean(text: str, limit: int) -> str:
    """Return text that Postgres and a terminal take: no NUL, no lone surrogates, bounded; the end is what is cut."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def failure(error: BaseException, policy: RetryPolicy | None = None) -> Failed:
    """Return what a handler's exception means; `policy` names those that no other attempt follows."""
    lines = "".join(traceback.format_exception(error))
    return Failed(
        TaskError(
            type=type(error).__name__,
            message=clean(str(error) or type(error).__name__, MESSAGE_CHARS),
            retryable=not isinstance(error, Permanent) and not (policy is not None and policy.gives_up_on(error)),
            traceback=clean(lines[-TRACEBACK_CHARS:], TRACEBACK_CHARS),
        ),
        _delay(error.delay) if isinstance(error, RetryAfter) else None,
    )


def _delay(asked: Any) -> float | None:
    """Return seconds a handler asked for, at most a year; None for what is no time at all."""
    try:
        seconds = float(asked)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), DELAY_MOST_S)


def refused_payload(error: ValidationError) -> Failed:
    """Return the failure of a payload that does not fit the handler; another attempt would meet the same payload."""
    rows = error.errors(include_url=False, include_input=False)
    message = "; ".join(f"{'.'.join(map(str, row['loc'])) or 'payload'}: {row['msg']}" for row in rows[:10])
    return Failed(TaskError(type="InvalidPayload", message=clean(message, MESSAGE_CHARS), retryable=False))


def ended(kind: str, message: str, *, retryable: bool = True) -> Failed:
    """Return a failure that Milepost itself states, such as a time-out."""
    return Failed(TaskError(type=kind, message=message, retryable=retryable))


def out_of_time(error: TaskError) -> TaskError:
    """Return the error of a task that has attempts left but no time for them; what the last one said is kept."""
    if error.type == TOTAL_TIMEOUT:
        return error
    why = "The next attempt would start after total_timeout is over, so there is none. The last failed with"
    message = clean(f"{why} {error.type}: {error.message}", MESSAGE_CHARS)
    return error.model_copy(update={"type": TOTAL_TIMEOUT, "message": message, "retryable": False})


def error_json(error: TaskError) -> str:
    """Return an error as the task shows it, as JSON text."""
    return orjson.dumps(error.model_dump(exclude_none=True)).decode()
