"""When a worker counts as dead, and how long one that may count so goes on."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from milepost.domain.presence import ABSENT_S, BACK_WITHIN_S, GONE_WITHIN_S, Absence, Absences, Sighting

AT = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Sighting(UUID(int=1), AT), Sighting(UUID(int=2), AT)
LATER = 10.0 + ABSENT_S


def test_a_worker_that_is_absent_once_is_not_dead() -> None:
    assert Absences().observe([A], 9.0, 10.0) == []


def test_a_worker_that_is_absent_for_long_is_dead_and_stays_so() -> None:
    seen = Absences()
    seen.observe([A], 10.0, 10.0)
    assert seen.observe([A, B], LATER, LATER) == [A]
    assert seen.observe([A, B], LATER + ABSENT_S, LATER + ABSENT_S) == [A, B]


def test_a_worker_that_came_back_in_between_starts_anew() -> None:
    seen = Absences()
    seen.observe([A], 10.0, 10.0)
    assert seen.observe([], 11.0, 11.0) == []
    assert seen.observe([A], LATER, LATER) == []


def test_only_what_surely_lies_between_two_looks_counts() -> None:
    """The first may have been over late, the second may have looked early."""
    seen = Absences()
    seen.observe([A], 5.0, 10.0)
    assert seen.observe([A], LATER - 0.1, LATER + 5.0) == []


def test_a_worker_that_said_something_in_between_starts_anew() -> None:
    """It lost its connection twice, right before each of two looks."""
    seen = Absences()
    seen.observe([A], 10.0, 10.0)
    later = A._replace(at=AT + timedelta(seconds=0.5))
    assert seen.observe([later], LATER, LATER) == []
    assert seen.observe([later], LATER + ABSENT_S, LATER + ABSENT_S) == [later]


def test_the_next_look_comes_when_somebody_may_be_dead_by_then() -> None:
    seen = Absences()
    assert seen.next_at(10.0) is None
    seen.observe([A], 10.0, 10.0)
    seen.observe([A, B], 10.5, 10.5)
    assert seen.next_at(10.5) == 10.0 + ABSENT_S
    assert seen.next_at(LATER) == 10.5 + ABSENT_S
    assert seen.next_at(LATER + 1.0) is None


def test_handlers_of_a_worker_that_lost_its_lock_are_gone_before_it_counts_as_dead() -> None:
    ours, theirs = Absence(), Absences()
    assert (ours.back_by(), ours.gone_by()) == (None, None)
    ours.lost(10.0)
    ours.lost(11.0)
    assert (ours.back_by(), ours.gone_by()) == (10.0 + BACK_WITHIN_S, 10.0 + GONE_WITHIN_S)
    theirs.observe([A], 10.0, 10.0)
    dead_at = theirs.next_at(10.0)
    assert dead_at is not None
    gone_by = ours.gone_by()
    assert gone_by is not None
    assert gone_by < dead_at
    ours.over()
    assert ours.back_by() is None


def test_while_postgres_is_there_for_nobody_no_time_counts() -> None:
    ours = Absence()
    ours.no_server(9.0, gone=False)
    assert ours.back_by() is None, "it was not lost"
    ours.lost(10.0)
    ours.no_server(9.9, gone=False)
    assert ours.gone_by() == 10.0 + GONE_WITHIN_S
    ours.no_server(10.8, gone=False)
    assert ours.gone_by() == 10.8 + GONE_WITHIN_S


def test_a_postgres_that_was_gone_misses_no_lock_of_before() -> None:
    ours = Absence()
    ours.lost(10.0)
    ours.no_server(10.1, gone=True)
    assert ours.back_by() is None
