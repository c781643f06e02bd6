"""When a failed attempt is tried again: pure decisions; the clock and the chance are passed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

LONGEST_S = 366 * 86_400.0
"""No policy waits longer than a year."""


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait between attempts, and after which errors there is no other. Seconds throughout.

    Exponential backoff with full jitter, unless `delays` says otherwise: the n-th retry waits a time drawn evenly from
    [0, min(cap, base * factor**(n-1))], but at least `floor`. Full jitter spreads the retries of tasks that failed
    together better than any other spread of the same mean (M. Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015). Nothing exceeds `cap` but a delay that a handler asked for with RetryAfter.

    `delays` is a schedule of one's own: the n-th retry waits exactly the n-th of them, later ones the last.

    `give_up_on` are exception types after which trying again would end the same way; a string is the type of an error
    as the task shows it, so that Milepost's own can be named too ("OutOfMemory"). Raises ValueError.
    """

    base: float = 1.0
    cap: float = 300.0
    factor: float = 2.0
    floor: float = 0.1
    delays: tuple[float, ...] = ()
    give_up_on: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        # `not x > 0` and not `x <= 0`: it is also true of NaN.
        if not (self.base > 0 and self.cap > 0 and self.factor >= 1 and self.floor >= 0):
            raise ValueError("base and cap must be more than 0, factor at least 1, floor at least 0")
        if not all(0 <= delay <= LONGEST_S for delay in self.delays):
            raise ValueError(f"each of delays must be from 0 to {LONGEST_S:.0f} s")

    @classmethod
    def after(
        cls, delays: Sequence[timedelta | float], *, give_up_on: Sequence[type[BaseException] | str] = ()
    ) -> "RetryPolicy":
        """Return the policy that waits these times, one after the other. Raises ValueError for none."""
        if not delays:
            raise ValueError("a schedule of retries needs at least one delay; max_attempts=1 means none")
        return cls(delays=tuple(_seconds(delay) for delay in delays), give_up_on=tuple(give_up_on))

    def delay(self, attempt: int, chance: float) -> float:
        """Return seconds to wait after failed attempt number `attempt` (1 is the first); `chance` is in [0, 1)."""
        if self.delays:
            return self.delays[min(attempt, len(self.delays)) - 1]
        return min(LONGEST_S, max(self.floor, self._ceiling(attempt) * chance))

    def _ceiling(self, attempt: int) -> float:
        try:
            return min(self.cap, self.base * self.factor ** (attempt - 1))
        except OverflowError:
            return self.cap

    def gives_up_on(self, error: BaseException | str) -> bool:
        """Whether an exception, or an error of that type as the task shows it, is not worth another attempt."""
        if isinstance(error, str):
            return error in self.give_up_on
        return any(
            type(error).__name__ == each if isinstance(each, str) else isinstance(error, each)
            for each in self.give_up_on
        )


class End(Enum):
    """Why no attempt follows."""

    PERMANENT = "permanent"
    ATTEMPTS = "attempts"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a failed attempt: seconds until the next one, or why there is none. One of them is None."""

    delay: float | None = None
    end: End | None = None


def after_failure(
    policy: RetryPolicy,
    *,
    attempt: int,
    max_attempts: int,
    permanent: bool,
    asked_delay: float | None,
    chance: float,
    now: float = 0.0,
    deadline: float | None = None,
) -> Verdict:
    """Decide whether a failed attempt is followed by another and when.

    `asked_delay` is what the handler asked for with RetryAfter, None if it did not; it wins over the policy, also
    beyond its cap. `deadline` is when the task's total time is over, by the clock that says `now`; None: never. What
    could not start before it is not scheduled.
    """
    if permanent:
        return Verdict(end=End.PERMANENT)
    if attempt >= max_attempts:
        return Verdict(end=End.ATTEMPTS)
    delay = policy.delay(attempt, chance) if asked_delay is None else max(0.0, asked_delay)
    if deadline is not None and now + delay >= deadline:
        return Verdict(end=End.TIME)
    return Verdict(delay)
