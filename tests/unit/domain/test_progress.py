"""Rate and ETA."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.progress import RateMeter


def test_nothing_is_said_of_a_single_update() -> None:
    meter = RateMeter()
    assert meter.update(1, 0.0) is None
    assert meter.eta(1, 10) is None


def test_a_steady_task_has_its_rate_and_eta() -> None:
    meter = RateMeter()
    for second in range(20):
        meter.update(second * 4, float(second))
    assert meter.rate == pytest.approx(4)
    assert meter.eta(76, 100) == pytest.approx(6)


def test_a_burst_does_not_swing_the_rate() -> None:
    meter = RateMeter()
    for second in range(20):
        meter.update(second * 4, float(second))
    meter.update(76 + 10, 19.06)
    assert meter.rate is not None
    assert meter.rate < 6


def test_a_count_that_falls_starts_anew() -> None:
    meter = RateMeter()
    meter.update(0, 0.0)
    meter.update(100, 1.0)
    assert meter.update(5, 2.0) is None
    assert meter.update(10, 3.0) == pytest.approx(5)


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 100)), max_size=50))
def test_the_rate_is_never_negative(updates: list[tuple[float, float]]) -> None:
    meter = RateMeter()
    now = 0.0
    for done, elapsed in updates:
        now += elapsed
        rate = meter.update(done, now)
        assert rate is None or rate >= 0
