"""What follows from an attempt to deliver a webhook: pure decisions; the chance is passed in."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from milepost.domain.retry import RetryPolicy

POLICY: Final = RetryPolicy(base=10.0, factor=3.0, cap=4 * 3600.0, floor=1.0)
"""Up to 10 s, 30 s, 90 s, 5 min, 14 min, 41 min, 2 h, then 4 h: evenly drawn, about eighteen attempts in a day."""
GIVE_UP_S: Final = 86_400.0
"""An attempt that would begin later than this after the first is not made."""
ASKED_MOST_S: Final = 4 * 3600.0
"""A receiver may ask (Retry-After) for so long a pause and no longer."""
DISABLE_AFTER_S: Final = 5 * 86_400.0
DISABLE_FAILURES: Final = 10
"""A webhook is disabled when nothing was delivered for five days and so many attempts failed."""
GONE: Final = 410


class DeliveryState(StrEnum):
    """Of one end to be told to one webhook."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back. `status` None: no answer, and `error` says why. `retry_after` is in seconds, None: not asked."""

    status: int | None
    error: str | None = None
    retry_after: float | None = None

    @property
    def good(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing more, ever."""
        return self.status == GONE


class Reply(NamedTuple):
    """What came of a request. `answer` is the beginning of the body, None if there was none."""

    answered: Answered
    answer: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a delivery: its state, and seconds until it is tried again (None: it is not)."""

    state: DeliveryState
    delay: float | None = None


def after_answer(answered: Answered, *, attempt: int, tried_s: float, chance: float) -> Next:
    """Decide what follows attempt number `attempt` (1 is the first), `tried_s` seconds after the first began.

    `attempt` counts from the last replay, like `tried_s`. `chance` is in [0, 1).
    """
    if answered.good:
        return Next(DeliveryState.DELIVERED)
    if answered.gone:
        return Next(DeliveryState.FAILED)
    delay = POLICY.delay(attempt, chance)
    if answered.retry_after is not None:
        delay = max(delay, min(answered.retry_after, ASKED_MOST_S))
    if tried_s + delay > GIVE_UP_S:
        return Next(DeliveryState.FAILED)
    return Next(DeliveryState.PENDING, delay)


def read_retry_after(text: str | None) -> float | None:
    """Return the seconds a Retry-After header asks for; None without one and for dates, which need a clock to trust."""
    if text is None or not text.isascii() or not text.strip().isdigit():
        return None
    return float(min(int(text.strip()[:9]), 10**9))
