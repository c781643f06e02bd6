"""When a failed attempt is tried again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The n-th retry waits a time drawn evenly from [0, min(cap, base * 2**(n-1))] seconds, but at least `floor`.
    Full jitter spreads the retries of tasks that failed together better than any other spread of the same mean
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    base: float = 1.0
    cap: float = 300.0
    floor: float = 0.1

    def delay(self, attempt: int, chance: float) -> float:
        """Return seconds to wait after failed attempt number `attempt` (1 is the first); `chance` is in [0, 1)."""
        # 2**62 seconds is past any cap; without the bound a large attempt makes a number too large for a float.
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 62))
        return max(self.floor, ceiling * chance)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a failed attempt: `delay` is seconds until the next one, None when there is none."""

    delay: float | None


def after_failure(
    policy: RetryPolicy,
    *,
    attempt: int,
    max_attempts: int,
    permanent: bool,
    asked_delay: float | None,
    chance: float,
) -> Verdict:
    """Decide whether a failed attempt is followed by another and when.

    `asked_delay` is what the handler asked for with RetryAfter, None if it did not; it wins over the policy.
    """
    if permanent or attempt >= max_attempts:
        return Verdict(None)
    if asked_delay is not None:
        return Verdict(max(0.0, asked_delay))
    return Verdict(policy.delay(attempt, chance))
