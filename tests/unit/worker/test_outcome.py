"""How attempts end."""

from typing import Any

import pytest

from milepost import Permanent, RetryAfter, RetryPolicy
from milepost_worker.outcome import DELAY_MOST_S, MESSAGE_CHARS, TRACEBACK_CHARS, clean, failure, out_of_time


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        (5, 5.0),
        (0, 0.0),
        (-1, 0.0),
        (float("inf"), DELAY_MOST_S),
        (1e300, DELAY_MOST_S),
        (float("nan"), None),
    ],
)
def test_any_delay_a_handler_asks_for_is_one_the_database_takes(asked: Any, delay: float | None) -> None:
    assert failure(RetryAfter(asked)).delay == delay


def test_a_permanent_error_is_not_retryable() -> None:
    assert not failure(Permanent("no")).error.retryable
    assert failure(ValueError("no")).error.retryable


def test_an_error_the_policy_gives_up_on_is_not_retryable() -> None:
    policy = RetryPolicy(give_up_on=(LookupError,))
    assert not failure(KeyError("no"), policy).error.retryable
    assert failure(ValueError("no"), policy).error.retryable


def test_an_error_with_no_time_left_for_another_attempt_keeps_what_was_said() -> None:
    error = out_of_time(failure(ValueError("no")).error)
    assert error.type == "TotalTimeout"
    assert "ValueError: no" in error.message
    assert not error.retryable
    assert error.traceback
    assert out_of_time(error) == error


def test_messages_are_bounded_text_that_postgres_takes() -> None:
    error = failure(ValueError("a\x00b\udce9" + "x" * 10**6)).error
    assert len(error.message) == MESSAGE_CHARS
    error.message.encode()
    assert "\x00" not in error.message
    assert len(error.traceback or "") <= TRACEBACK_CHARS


def test_an_exception_without_words_is_named() -> None:
    assert failure(KeyError()).error.message == "KeyError"
    assert clean("short", 10) == "short"
