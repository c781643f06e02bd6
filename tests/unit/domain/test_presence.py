"""The rule of two passes."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from milepost.domain.presence import APART_S, Absences, Sighting

AT = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Sighting(UUID(int=1), AT), Sighting(UUID(int=2), AT)


def test_a_worker_that_is_absent_once_is_not_dead() -> None:
    assert Absences().observe([A], 10.0) == []


def test_a_worker_that_is_absent_at_two_passes_is_dead_and_stays_so() -> None:
    seen = Absences()
    seen.observe([A], 10.0)
    assert seen.observe([A, B], 11.0) == [A.worker]
    assert seen.observe([A, B], 12.0) == [A.worker, B.worker]


def test_a_worker_that_came_back_in_between_starts_anew() -> None:
    seen = Absences()
    seen.observe([A], 10.0)
    assert seen.observe([], 11.0) == []
    assert seen.observe([A], 12.0) == []


def test_two_passes_at_once_are_one() -> None:
    seen = Absences()
    seen.observe([A], 10.0)
    assert seen.observe([A], 10.0 + APART_S / 2) == []


def test_a_worker_that_said_something_in_between_starts_anew() -> None:
    """It lost its connection twice, right before each of two passes."""
    seen = Absences()
    seen.observe([A], 10.0)
    later = A._replace(at=AT + timedelta(seconds=0.5))
    assert seen.observe([later], 11.0) == []
    assert seen.observe([later], 12.0) == [A.worker]
