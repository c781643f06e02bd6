"""When a failed attempt is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.retry import RetryPolicy, after_failure

policies = st.builds(RetryPolicy, base=st.floats(0.01, 60), cap=st.floats(1, 3600), floor=st.floats(0, 0.5))
chances = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 10_000), chances)
def test_no_delay_is_below_the_floor_or_above_the_cap(policy: RetryPolicy, attempt: int, chance: float) -> None:
    assert policy.floor <= policy.delay(attempt, chance) <= max(policy.cap, policy.floor)


@given(policies, st.integers(1, 60), chances)
def test_the_same_luck_never_waits_less_after_more_attempts(policy: RetryPolicy, attempt: int, chance: float) -> None:
    assert policy.delay(attempt + 1, chance) >= policy.delay(attempt, chance)


def test_the_ceiling_doubles() -> None:
    policy = RetryPolicy(base=1, cap=100, floor=0)
    almost_one = 0.999999
    assert [round(policy.delay(n, almost_one)) for n in (1, 2, 3, 4, 8)] == [1, 2, 4, 8, 100]


def _after(
    attempt: int = 1, max_attempts: int = 3, *, permanent: bool = False, asked: float | None = None
) -> float | None:
    return after_failure(
        RetryPolicy(base=1, cap=100, floor=0),
        attempt=attempt,
        max_attempts=max_attempts,
        permanent=permanent,
        asked_delay=asked,
        chance=0.5,
    ).delay


def test_the_last_attempt_is_not_followed_by_another() -> None:
    assert _after(attempt=2) == 1.0
    assert _after(attempt=3) is None


def test_a_permanent_error_is_not_retried_whatever_was_asked() -> None:
    assert _after(permanent=True, asked=5) is None


@pytest.mark.parametrize(("asked", "expected"), [(7.0, 7.0), (0.0, 0.0), (-3.0, 0.0)])
def test_what_the_handler_asks_for_wins_over_the_policy(asked: float, expected: float) -> None:
    assert _after(asked=asked) == expected
