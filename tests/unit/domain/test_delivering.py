"""What follows from an attempt to deliver a webhook."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.delivering import (
    ASKED_MOST_S,
    GIVE_UP_S,
    POLICY,
    Answered,
    DeliveryState,
    Next,
    after_answer,
    read_retry_after,
)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_what_the_receiver_took_is_delivered(status: int) -> None:
    assert after_answer(Answered(status), attempt=1, tried_s=0, chance=0.5) == Next(DeliveryState.DELIVERED)


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 307, 400, 401, 404, 409, 429, 500, 503])
def test_all_else_is_tried_again(status: int | None) -> None:
    following = after_answer(Answered(status), attempt=1, tried_s=0, chance=0.5)
    assert following == Next(DeliveryState.PENDING, 5.0)


def test_who_is_gone_gets_nothing_more() -> None:
    assert after_answer(Answered(410), attempt=1, tried_s=0, chance=0.5) == Next(DeliveryState.FAILED)


def test_a_receiver_may_ask_for_a_pause_within_bounds() -> None:
    for asked, delay in ((0.0, 5.0), (60.0, 60.0), (1e9, ASKED_MOST_S)):
        assert after_answer(Answered(503, None, asked), attempt=1, tried_s=0, chance=0.5).delay == delay


@given(st.integers(0, 10**9))
def test_a_receiver_may_be_away_for_nearly_a_day_and_tries_end(seed: int) -> None:
    dice = Random(seed)
    tried, count = 0.0, 1
    while (delay := after_answer(Answered(500), attempt=count, tried_s=tried, chance=dice.random()).delay) is not None:
        assert delay >= POLICY.floor
        tried, count = tried + delay, count + 1
        assert tried <= GIVE_UP_S
    assert tried > GIVE_UP_S - POLICY.cap


def test_there_are_about_eighteen_attempts_in_a_day() -> None:
    tried, count = 0.0, 1
    while (delay := after_answer(Answered(500), attempt=count, tried_s=tried, chance=0.5).delay) is not None:
        tried, count = tried + delay, count + 1
    assert count in {17, 18, 19}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("", None), ("5", 5.0), (" 7 ", 7.0), ("-1", None), ("1.5", None), ("9" * 400, 999_999_999.0),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("\u0665", None)],
)  # fmt: skip
def test_a_pause_is_read_from_a_number_of_seconds_only(text: str | None, seconds: float | None) -> None:
    assert read_retry_after(text) == seconds
