"""The lease board."""

import time

import pytest

from milepost_worker.execution.board import PLACES, LeaseBoard


def test_what_one_process_writes_another_reads() -> None:
    ours = LeaseBoard()
    theirs = LeaseBoard(ours.fd)
    place = ours.take(time.monotonic() + 100)
    assert theirs.left(place) == pytest.approx(100, abs=5)
    ours.write(place, time.monotonic() - 1)
    assert theirs.left(place) < 0
    theirs._memory.close()
    ours.close()


def test_a_place_that_was_given_back_is_the_last_to_be_taken_again() -> None:
    board = LeaseBoard()
    first = board.take(0.0)
    board.give_back(first)
    assert [board.take(0.0) for _ in range(PLACES)][-1] == first
    board.close()
