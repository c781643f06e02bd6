"""The rules of a HorizontalPodAutoscaler, as far as they matter to us."""

from tests.autoscale.scaler import Scaler


def test_workers_are_as_many_as_their_slots_are_wanted() -> None:
    scaler = Scaler(6.4, 1, 10, 0)
    assert scaler.decide(19.3, 2, 0) == 4
    assert scaler.decide(0, 2, 1) == 1
    assert scaler.decide(1000, 8, 2) == 10


def test_a_tenth_more_or_less_changes_nothing() -> None:
    scaler = Scaler(10, 1, 10, 0)
    assert scaler.decide(32.9, 3, 0) == 3
    assert scaler.decide(33.1, 3, 1) == 4
    assert scaler.decide(27.1, 3, 2) == 3
    assert scaler.decide(19.9, 3, 3) == 2


def test_it_grows_by_four_or_to_twice_as_many_in_one_step() -> None:
    scaler = Scaler(1, 0, 1000, 0)
    assert scaler.decide(100, 0, 0) == 4
    assert scaler.decide(100, 4, 1) == 8
    assert scaler.decide(100, 8, 2) == 16


def test_it_shrinks_to_the_most_that_was_wanted_of_late() -> None:
    scaler = Scaler(1, 1, 10, 30)
    assert scaler.decide(6, 4, 0) == 6
    assert scaler.decide(2, 6, 15) == 6
    assert scaler.decide(3, 6, 29) == 6
    assert scaler.decide(2, 6, 31) == 3
    assert scaler.decide(2, 3, 60) == 2
