"""When a failed attempt is tried again."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.retry import End, RetryPolicy, after_failure

policies = st.builds(
    RetryPolicy, base=st.floats(0.01, 60), cap=st.floats(1, 3600), factor=st.floats(1, 10), floor=st.floats(0, 0.5)
)
schedules = st.lists(st.floats(0, 86_400), min_size=1, max_size=8).map(RetryPolicy.after)
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


def test_what_the_handler_asks_for_is_not_cut_at_the_policys_cap() -> None:
    assert _after(asked=3600.0) == 3600.0


def test_a_schedule_is_followed_exactly_and_its_last_delay_repeats() -> None:
    policy = RetryPolicy.after([1, timedelta(minutes=1), 600.0])
    assert [policy.delay(attempt, 0.123) for attempt in (1, 2, 3, 4, 99)] == [1, 60, 600, 600, 600]


class Broken(ValueError):
    """A kind of ValueError."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), True),
        (Broken(), True),
        (KeyError(), False),
        (TimeoutError(), True),
        ("OutOfMemory", True),
        ("Crashed", False),
        ("ValueError", False),
    ],
)
def test_errors_that_are_not_worth_another_attempt_are_named_by_class_or_by_type(
    error: BaseException | str, expected: bool
) -> None:
    policy = RetryPolicy(give_up_on=(ValueError, "TimeoutError", "OutOfMemory"))
    assert policy.gives_up_on(error) is expected


@pytest.mark.parametrize(
    "options",
    [
        {"base": 0},
        {"base": float("nan")},
        {"cap": -1},
        {"factor": 0.5},
        {"floor": -1},
        {"delays": (1.0, -1.0)},
        {"delays": (float("inf"),)},
        {"delays": (float("nan"),)},
    ],
)
def test_policies_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**options)


def test_a_schedule_without_delays_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RetryPolicy.after([])


@given(
    policies | schedules,
    st.integers(1, 200),
    st.integers(1, 200),
    st.booleans(),
    st.none() | st.floats(-10, 10**7),
    chances,
    st.floats(0, 10**6),
    st.none() | st.floats(0, 10**6),
)
def test_a_failed_attempt_is_followed_by_another_or_by_a_reason_and_never_past_the_deadline(
    policy: RetryPolicy,
    attempt: int,
    max_attempts: int,
    permanent: bool,
    asked: float | None,
    chance: float,
    now: float,
    deadline: float | None,
) -> None:
    verdict = after_failure(
        policy,
        attempt=attempt,
        max_attempts=max_attempts,
        permanent=permanent,
        asked_delay=asked,
        chance=chance,
        now=now,
        deadline=deadline,
    )
    assert (verdict.delay is None) != (verdict.end is None)
    if verdict.delay is not None:
        assert not permanent
        assert attempt < max_attempts
        assert verdict.delay >= 0
        assert deadline is None or now + verdict.delay < deadline
    if verdict.end is End.TIME:
        assert deadline is not None
