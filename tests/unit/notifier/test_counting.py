"""What a session sends, merges and leaves out is counted, to the last frame."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from milepost.runtime.metrics import catalogue
from milepost_notifier.limits import Limits
from milepost_notifier.meter import LOOKED_AT, Lateness
from milepost_notifier.tally import TALLY
from milepost_schemas.event import Event, EventKind
from tests.scraping import Samples
from tests.unit.notifier.making import TRACE, Driven, event, view

COUNTED = (
    catalogue.FRAMES, catalogue.COALESCED, catalogue.DROPPED, catalogue.DEGRADED, catalogue.RESETS, catalogue.CLOSED,
    catalogue.EVENTS, catalogue.EVENT_LAG,
)  # fmt: skip


def _read() -> Samples:
    TALLY.read()
    return Samples(family for each in COUNTED for family in each.collect())


class More:
    """What was counted since it was made."""

    def __init__(self) -> None:
        self._before = _read()

    def __call__(self, name: str, **labels: str) -> float:
        return _read().sum(name, **labels) - self._before.sum(name, **labels)


@pytest.fixture
def more() -> More:
    return More()


def test_frames_are_counted_by_kind(more: More) -> None:
    driven = Driven()
    driven.joined(1, 0)
    driven.event(event(1, 1, "started"))
    driven.event(event(1, 2))
    driven.event(event(1, 3, "succeeded"))
    driven.answer(view(1, 3, finished=True))
    kinds = [frame["t"] for frame in driven.frames()]
    assert kinds == ["ev", "ev", "ev", "end"]
    assert more("milepost_frames_total", kind="event") == 3
    assert more("milepost_frames_total", kind="snapshot") == 1
    assert more("milepost_frames_total", kind="other") == 2, "the welcome, and the end"


def test_progress_that_is_replaced_before_it_is_written_is_counted(more: More) -> None:
    driven = Driven()
    driven.joined(1, 0)
    driven.stall()
    for seq in range(1, 6):
        driven.event(event(1, seq))
    assert len(driven.frames()) == 1
    assert more("milepost_frames_coalesced_total") == 4


def test_a_slow_client_is_counted_with_what_is_left_out_for_it(more: More) -> None:
    driven = Driven(Limits(soft=2_000))
    driven.joined(1, 0)
    driven.stall()
    for seq in range(1, 41):
        driven.event(event(1, seq, "log", {"level": "info", "message": "x" * 100, "fields": {}}))
    assert driven.session.lagging
    assert more("milepost_clients_degraded_total") == 1
    assert more("milepost_frames_dropped_total") == 40
    assert [frame["t"] for frame in driven.frames()] == ["lag"]
    driven.tick(5.0)
    driven.answer(view(1, 40))
    assert any(frame.get("reset") for frame in driven.frames())
    assert more("milepost_resets_total") == 1


def test_a_session_that_we_end_is_counted_by_its_reason(more: More) -> None:
    driven = Driven(greeted=False)
    driven.send({"t": "ping"})
    assert driven.session.closing is not None
    assert more("milepost_relay_closed_total", reason="protocol_violation") == 1
    assert more("milepost_relay_closed_total") == 1


def _events(number: int, age_s: float) -> Iterator[Any]:
    time = datetime.now(UTC) - timedelta(seconds=age_s)
    for _ in range(number):
        yield Event.model_construct(kind=EventKind.PROGRESS, time=time, traceparent=TRACE)  # type: ignore[call-arg]


@pytest.mark.parametrize("number", [1, LOOKED_AT, LOOKED_AT + 1, 1000])
def test_of_a_large_batch_some_are_looked_at_and_count_for_all(more: More, number: int) -> None:
    late = Lateness(1000)
    assert len(list(late.noting(_events(number, 40.0)))) == number
    assert len(late._seen) <= LOOKED_AT
    late.observe()
    assert more("milepost_events_ingested_total") == number
    assert more("milepost_event_lag_seconds_count") == number
    assert more("milepost_event_lag_seconds_bucket", le="30.0") == 0
    assert more("milepost_event_lag_seconds_bucket", le="60.0") == number


def test_a_batch_of_nothing_says_nothing(more: More) -> None:
    late = Lateness(0)
    assert list(late.noting([])) == []
    assert late.observe() is None
    assert more("milepost_event_lag_seconds_count") == 0
