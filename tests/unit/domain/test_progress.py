"""Rate, ETA and silence."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost.domain.progress import HALF_LIFE_S, SILENT_S, SPAN_S, RateMeter, left_now

_steps = st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 100)), max_size=50)


def steady(rate: float = 4.0, seconds: int = 20) -> RateMeter:
    meter = RateMeter()
    for second in range(seconds):
        meter.update(second * rate, float(second))
    return meter


def test_nothing_is_said_of_a_single_update() -> None:
    meter = RateMeter()
    assert meter.update(1, 0.0) is None
    assert meter.eta(1, 10) is None


def test_a_steady_task_has_its_rate_and_eta() -> None:
    meter = steady()
    assert meter.rate == pytest.approx(4)
    assert meter.eta(76, 100) == pytest.approx(6)


def test_a_burst_does_not_swing_the_rate() -> None:
    meter = steady()
    meter.update(76 + 10, 19.06)
    assert meter.rate is not None
    assert meter.rate < 6


def test_a_burst_at_the_start_is_no_rate() -> None:
    meter = RateMeter()
    for number in range(1_000):
        meter.update(number, number * 1e-5)
    meter.update(999, 0.2)
    assert meter.rate is None
    assert meter.eta(999, 10_000) is None


def test_a_burst_and_the_silence_after_it_are_one_rate() -> None:
    """Not that of the burst, which would promise an end that never comes."""
    meter = RateMeter()
    for number in range(1_000):
        meter.update(number, number * 1e-5)
    rate = meter.update(1_000, 10.0)
    assert rate is not None
    assert rate == pytest.approx(100, rel=0.05)
    for second in range(11, 60):
        rate = meter.update(1_000, float(second))
    assert rate is not None
    assert rate < 1


def test_a_count_that_falls_starts_anew() -> None:
    meter = RateMeter()
    meter.update(0, 0.0)
    meter.update(100, 1.0)
    assert meter.update(5, 2.0) is None
    assert meter.eta(5, 10) is None
    assert meter.update(10, 3.0) == pytest.approx(5)


def test_a_total_that_changes_changes_the_eta_and_not_the_rate() -> None:
    meter = steady()
    assert meter.eta(76, 176) == pytest.approx(25)
    assert meter.eta(76, 76) == 0
    assert meter.eta(76, 70) is None
    assert meter.eta(76, None) is None
    assert meter.rate == pytest.approx(4)


def test_an_eta_grows_in_a_silence_and_stops_being_one_where_nothing_gets_done() -> None:
    meter = steady()
    told = [meter.eta(76, 100, 19.0 + silence) for silence in (0, 5, 10, 60)]
    assert None not in told
    assert told == sorted(told)  # type: ignore[type-var]
    still = RateMeter()
    for second in range(10):
        still.update(5, float(second))
    assert still.rate == 0
    assert still.eta(5, 10) is None


@given(_steps)
def test_the_rate_is_a_number_and_never_negative(updates: list[tuple[float, float]]) -> None:
    meter = RateMeter()
    now = 0.0
    for done, elapsed in updates:
        now += elapsed
        rate = meter.update(done, now)
        assert rate is None or (rate >= 0 and math.isfinite(rate))


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 30)), min_size=1, max_size=50))
def test_the_rate_is_never_above_the_fastest_stretch(updates: list[tuple[float, float]]) -> None:
    """A stretch that is long enough to say something of."""
    meter = RateMeter()
    now, done = 0.0, 0.0
    counted_at, counted, fastest = 0.0, 0.0, 0.0
    meter.update(0, 0.0)
    for units, elapsed in updates:
        now, done = now + elapsed, done + units
        rate = meter.update(done, now)
        if now - counted_at >= 0.05:
            fastest = max(fastest, (done - counted) / (now - counted_at))
            counted_at, counted = now, done
        assert rate is None or rate <= fastest * (1 + 1e-6) + 1e-300  # numbers that small have few digits


@given(st.integers(1, 1_000), st.floats(0.1, 100), st.floats(10, 60))
def test_the_rate_does_not_depend_on_how_many_updates_tell_of_the_same(parts: int, rate: float, seconds: float) -> None:
    """A thousand updates in a moment count as much as one."""
    few, many = RateMeter(), RateMeter()
    for meter, bursts in ((few, 1), (many, parts)):
        meter.update(0, 0.0)
        for second in range(1, int(seconds) + 1):
            for part in range(1, bursts + 1):
                meter.update(rate * (second - 1 + part / bursts), second + part / bursts * 0.01)
    assert few.rate is not None
    assert many.rate is not None
    assert many.rate == pytest.approx(few.rate, rel=0.25)


@given(_steps, st.floats(0, 2e9), st.floats(0, 1e4))
def test_an_eta_is_a_number_and_never_negative_and_only_grows_while_nothing_comes(
    updates: list[tuple[float, float]], total: float, silence: float
) -> None:
    meter = RateMeter()
    now, done = 0.0, 0.0
    for done, elapsed in updates:
        now += elapsed
        meter.update(done, now)
    eta, later = meter.eta(done, total, now), meter.eta(done, total, now + silence)
    for each in (eta, later):
        assert each is None or (each >= 0 and math.isfinite(each))
    if eta is not None and later is not None:
        assert later >= eta * (1 - 1e-9)


@given(st.floats(0.1, 1e4), st.floats(0.1, 60))
def test_a_task_that_gets_on_evenly_is_done_when_it_was_said(rate: float, gap: float) -> None:
    assume(gap >= 0.1)
    meter = RateMeter()
    now = 0.0
    while now < SPAN_S + 10 * gap:
        meter.update(rate * now, now)
        now += gap
    last = now - gap
    total = rate * (last + 100)
    assert meter.eta(rate * last, total) == pytest.approx(100, rel=0.01)


class TestWhatIsLeft:
    def test_counts_down(self) -> None:
        assert left_now(60.0, 0.0) == 60
        assert left_now(60.0, 10.0) == 50
        assert left_now(None, 1.0) is None

    def test_is_unknown_once_the_silence_is_long(self) -> None:
        assert left_now(3600.0, 1700.0) == 1900
        assert left_now(3600.0, 1900.0) is None
        assert left_now(20.0, SILENT_S + 1) is None

    def test_is_nothing_for_a_while_when_the_time_has_come(self) -> None:
        assert left_now(2.0, 5.0) == 0
        assert left_now(2.0, SILENT_S) is None

    @given(st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0, 1e7))
    def test_never_grows_with_the_silence(self, eta: float, one: float, other: float) -> None:
        early, late = left_now(eta, min(one, other)), left_now(eta, max(one, other))
        if late is not None:
            assert early is not None
            assert 0 <= late <= early <= eta


def test_half_of_what_was_is_forgotten_in_a_half_life() -> None:
    meter = steady(rate=10.0, seconds=100)
    for second in range(100, 100 + int(HALF_LIFE_S)):
        meter.update(990, float(second))
    assert meter.rate == pytest.approx(5, rel=0.1)
