"""How attempts end."""

from typing import Any

import pytest

from milepost import Permanent, RetryAfter
from milepost_worker.outcome import DELAY_MOST_S, MESSAGE_CHARS, TRACEBACK_CHARS, clean, failure


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


def test_messages_are_bounded_text_that_postgres_takes() -> None:
    error = failure(ValueError("a\x00b\udce9" + "x" * 10**6)).error
    assert len(error.message) == MESSAGE_CHARS
    error.message.encode()
    assert "\x00" not in error.message
    assert len(error.traceback or "") <= TRACEBACK_CHARS


def test_an_exception_without_words_is_named() -> None:
    assert failure(KeyError()).error.message == "KeyError"
    assert clean("short", 10) == "short"
