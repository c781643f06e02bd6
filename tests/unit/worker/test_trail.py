"""The events of one epoch."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost_schemas import EventKind, Position
from milepost_worker.trail import WAITING_BYTES, WAITING_MOST, Trail

TASK = UUID(int=1)


class Topic:
    """Takes events while `up`."""

    def __init__(self) -> None:
        self.up = True
        self.events: list[tuple[Position, EventKind, Mapping[str, Any]]] = []
        self.numbers: list[int] = []

    def __call__(
        self,
        _task: UUID,
        _tenant: str,
        _root: UUID,
        at: Position,
        kind: EventKind,
        data: Mapping[str, Any] | orjson.Fragment,
        _traceparent: str | None,
        merged: int,
    ) -> bool:
        if self.up:
            self.events.append((at, kind, orjson.loads(orjson.dumps(data))))
            self.numbers += range(at.seq - merged, at.seq + 1)
        return self.up

    @property
    def folded(self) -> dict[str, Any]:
        task: dict[str, Any] = {}
        for _, kind, data in self.events:
            if kind.patches:
                task |= data
        return task


@pytest.fixture
def topic() -> Topic:
    return Topic()


def _trail(topic: Topic) -> Trail:
    return Trail(topic, TASK, "default", TASK, 4, None)


def test_a_short_task_is_one_event_beyond_the_position_of_its_claim(topic: Topic) -> None:
    trail = _trail(topic)
    trail.add(EventKind.STARTED, {"state": "running", "attempt": 1})
    seq, patch = trail.close()
    assert seq == 1
    assert trail.send_last(EventKind.SUCCEEDED, patch | {"state": "succeeded"})
    ((at, kind, data),) = topic.events
    assert (at, kind) == (Position(4, 1), EventKind.SUCCEEDED)
    assert data["state"] == "succeeded"
    assert data["attempt"] == 1
    assert topic.numbers == [0, 1]


def test_what_waits_at_the_end_travels_with_it(topic: Topic) -> None:
    trail = _trail(topic)
    trail.add(EventKind.STARTED, {"state": "running"})
    trail.flush()
    topic.up = False
    for done in range(50):
        trail.add_progress(done, 50, "files", None)
        trail.flush()
    topic.up = True
    seq, patch = trail.close()
    assert seq == 2
    trail.send_last(EventKind.SUCCEEDED, patch | {"state": "succeeded"})
    assert topic.numbers == [0, 1, 2]
    assert topic.folded["progress"]["done"] == 49


def test_progress_that_waits_is_replaced(topic: Topic) -> None:
    trail = _trail(topic)
    topic.up = False
    for done in range(100):
        trail.add_progress(done, 100, None, None)
        trail.flush()
    topic.up = True
    trail.flush()
    assert [(at.seq, data["progress"]["done"]) for at, _, data in topic.events] == [(0, 99)]


def test_nothing_is_said_after_the_end(topic: Topic) -> None:
    trail = _trail(topic)
    trail.close()
    trail.add(EventKind.CANCELLING, {})
    trail.add_progress(1, 2, None, None)
    trail.flush()
    assert topic.events == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), None, "many", 10**400, object()])
def test_progress_that_is_no_number_is_left_out(topic: Topic, number: Any) -> None:
    trail = _trail(topic)
    trail.add_progress(number, None, None, None)
    if number is not None:
        trail.add_progress(1, number, None, None)
    assert not trail.behind
    assert trail.progress_json is None


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (Decimal("1.5"), None),
        (Fraction(1, 3), None),
        (2**70, None),
        (True, None),
        (1, "r\udce9sum\udce9"),
        (1, "x" * 10**6),
        (1, Path("a")),
    ],
)
def test_whatever_handlers_say_json_carries_it(topic: Topic, done: Any, message: Any) -> None:
    trail = _trail(topic)
    trail.add_progress(done, 2**80, "files\x00", message)
    trail.flush()
    ((_, _, data),) = topic.events
    orjson.dumps(data)
    assert trail.progress_json is not None
    shown = orjson.loads(trail.progress_json)
    assert shown["done"] == pytest.approx(float(done))
    assert len(shown["message"] or "") <= 2000


@given(st.lists(st.sampled_from(["progress", "cancelling", "flush", "down", "up"]), max_size=60))
def test_numbers_have_no_gap_and_the_fold_is_whole_whatever_the_broker_does(steps: list[str]) -> None:
    topic = Topic()
    trail = _trail(topic)
    trail.add(EventKind.STARTED, {"state": "running"})
    done = 0
    for step in steps:
        match step:
            case "progress":
                done += 1
                trail.add_progress(done, None, None, None)
            case "cancelling":
                trail.add(EventKind.CANCELLING, {"asked": True})
            case "flush":
                trail.flush()
            case _:
                topic.up = step == "up"
    seq, patch = trail.close()
    topic.up = True
    trail.send_last(EventKind.SUCCEEDED, patch | {"state": "succeeded"})
    assert topic.numbers == list(range(seq + 1))
    assert topic.folded["state"] == "succeeded"
    assert topic.folded.get("progress", {"done": 0})["done"] == done
    assert topic.folded.get("asked", False) == ("cancelling" in steps)


def line(number: int, size: int = 0) -> bytes:
    return orjson.dumps({"message": f"line {number}", "padding": "x" * size})


class TestWhatIsStreamed:
    def test_goes_in_order_with_the_rest(self, topic: Topic) -> None:
        trail = _trail(topic)
        trail.add(EventKind.STARTED, {"state": "running"})
        trail.stream(EventKind.LOG, line(1))
        trail.add_progress(1, 2, None, None)
        trail.stream(EventKind.OUTPUT, line(2))
        trail.flush()
        assert [(at.seq, kind.value) for at, kind, _ in topic.events] == [
            (0, "started"), (1, "log"), (2, "progress"), (3, "output"),
        ]  # fmt: skip
        assert topic.events[1][2]["message"] == "line 1"

    def test_is_sent_before_the_end_because_the_end_cannot_carry_it(self, topic: Topic) -> None:
        trail = _trail(topic)
        trail.add(EventKind.STARTED, {"state": "running"})
        trail.stream(EventKind.LOG, line(1))
        seq, patch = trail.close()
        trail.send_last(EventKind.SUCCEEDED, patch)
        assert (seq, patch) == (2, {})
        assert topic.numbers == [0, 1, 2]

    def test_waits_bounded_the_oldest_left_out_and_counted_in_its_place(self, topic: Topic) -> None:
        trail = _trail(topic)
        topic.up = False
        trail.add(EventKind.STARTED, {"state": "running"})
        for number in range(WAITING_MOST + 5):
            trail.stream(EventKind.LOG, line(number))
            trail.flush()
        trail.add(EventKind.CANCELLING, {})
        topic.up = True
        trail.flush()
        kinds = [kind for _, kind, _ in topic.events]
        assert kinds == [EventKind.STARTED, *[EventKind.LOG] * (WAITING_MOST + 1), EventKind.CANCELLING]
        assert topic.events[1][2]["fields"] == {"events": 5}
        assert topic.events[2][2]["message"] == "line 5"
        assert topic.numbers == list(range(WAITING_MOST + 3))

    def test_waits_bounded_in_bytes_too(self, topic: Topic) -> None:
        trail = _trail(topic)
        topic.up = False
        for number in range(50):
            trail.stream(EventKind.OUTPUT, line(number, 10_000))
        topic.up = True
        trail.flush()
        assert sum(len(data["padding"]) for _, _, data in topic.events if "padding" in data) <= WAITING_BYTES
        assert topic.events[0][2]["fields"]["events"] + len(topic.events) - 1 == 50
        assert topic.events[-1][2]["message"] == "line 49"

    def test_does_not_keep_progress_from_being_replaced_while_it_waits(self, topic: Topic) -> None:
        trail = _trail(topic)
        topic.up = False
        for number in range(2000):
            trail.add_progress(number, 2000, None, None)
            trail.stream(EventKind.LOG, line(number))
        topic.up = True
        trail.flush()
        assert len(topic.events) == WAITING_MOST + 2
        assert topic.folded["progress"]["done"] == 1999

    def test_takes_no_number_if_kafka_is_away_until_the_end(self, topic: Topic) -> None:
        trail = _trail(topic)
        topic.up = False
        trail.add(EventKind.STARTED, {"state": "running"})
        trail.stream(EventKind.LOG, line(1))
        seq, patch = trail.close()
        topic.up = True
        assert trail.send_last(EventKind.SUCCEEDED, patch)
        assert seq == 1
        assert topic.numbers == [0, 1]

    def test_of_a_task_that_is_not_ours_any_more_is_not_told(self, topic: Topic) -> None:
        trail = _trail(topic)
        trail.stream(EventKind.LOG, line(1))
        trail.close(tell=False)
        assert topic.events == []


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["progress", "log", "flush", "kafka"]),
            st.sampled_from(["cancelling"]),
        ),
        max_size=600,
    )
)
def test_every_number_is_used_once_whatever_is_said_while_kafka_comes_and_goes(steps: list[str]) -> None:
    topic = Topic()
    trail = _trail(topic)
    trail.add(EventKind.STARTED, {"state": "running"})
    cancelling = 0
    for number, step in enumerate(steps):
        match step:
            case "progress":
                trail.add_progress(number, None, None, None)
            case "log":
                trail.stream(EventKind.LOG, line(number, number % 3 * 3000))
            case "cancelling":
                cancelling += 1
                trail.add(EventKind.CANCELLING, {})
            case "flush":
                trail.flush()
            case _:
                topic.up = not topic.up
    seq, patch = trail.close()
    topic.up = True
    trail.send_last(EventKind.SUCCEEDED, patch)
    assert topic.numbers == list(range(seq + 1))
    assert topic.folded["state"] == "running"
    told = [data["message"] for _, kind, data in topic.events if kind is EventKind.LOG and "padding" in data]
    assert told == sorted(told, key=lambda message: int(message.split()[1]))
