"""What a session's frames look like as server-sent events."""

from typing import Any

import orjson
import pytest

from milepost_notifier import sse
from milepost_schemas.position import Position
from tests.unit.notifier.making import OTHER, TASK, Driven, event, view


def texts(driven: Driven, number: int = 1) -> list[dict[str, str]]:
    """Take everything that waits, as lines of each event."""
    entries = driven.session.outbox.take_entries(2**30)
    over = not driven.session.has(number)
    found = []
    for entry in entries:
        text = sse.text_of(entry, TASK, over=over).decode()
        assert not text or text.endswith("\n\n")
        if text:
            found.append(dict(line.split(": ", 1) for line in text[:-2].split("\n")))
    return found


def kinds(rows: list[dict[str, str]]) -> list[tuple[str, str | None]]:
    return [(row["event"], row.get("id")) for row in rows]


def live() -> Driven:
    driven = Driven()
    driven.sub()
    driven.answer(view(1, 0))
    return driven


def test_each_event_says_its_position_its_kind_and_its_frame() -> None:
    driven = live()
    driven.event(event(1, 1, "log", {"message": "hello"}))
    rows = texts(driven)
    assert kinds(rows) == [("snap", "1:0"), ("log", "1:1")]
    frame: dict[str, Any] = orjson.loads(rows[1]["data"])
    assert (frame["t"], frame["kind"], frame["at"], frame["prev"]) == ("ev", "log", [1, 1], [1, 0])


def test_positions_of_other_tasks_are_none_to_come_back_with() -> None:
    driven = live()
    driven.sub(2, OTHER)
    driven.answer(view(7, 7))
    assert kinds(texts(driven)) == [("snap", "1:0"), ("snap", None)]


@pytest.mark.parametrize("at_once", [True, False])
def test_only_who_has_the_end_can_say_that_it_is_there(at_once: bool) -> None:
    driven = live()
    driven.event(event(1, 1, "log", {}))
    if not at_once:
        assert kinds(texts(driven)) == [("snap", "1:0"), ("log", "1:1")]
    driven.event(event(1, 2, "succeeded"))
    rows = kinds(texts(driven))
    assert rows[-2:] == [("succeeded", None), ("end", "1:2")]
    assert rows[:-2] == ([("snap", "1:0"), ("log", "1:1")] if at_once else [])


def test_a_task_that_is_over_is_shown_with_one_id() -> None:
    driven = Driven()
    driven.sub()
    driven.answer(view(1, 5, finished=True))
    assert kinds(texts(driven)) == [("snap", None), ("end", "1:5")]


def test_only_an_end_that_is_known_is_nothing_to_say() -> None:
    for since, expected in (((1, 5), True), ((1, 4), False), ((1, 6), False)):
        driven = Driven()
        driven.sub(since=list(since))
        driven.answer(view(1, 5, finished=True))
        entries = driven.session.outbox.take_entries(2**30)
        assert sse.only_end(entries, Position(*since)) is expected


def test_line_breaks_between_the_words_of_json_do_not_end_the_data() -> None:
    driven = Driven()
    driven.session.outbox.put(b'{"t":"err",\r\n"code":"x","message":\n"a\\nb"}')
    [row] = texts(driven)
    assert orjson.loads(row["data"]) == {"t": "err", "code": "x", "message": "a\nb"}


def test_what_only_a_websocket_needs_is_left_out() -> None:
    driven = Driven(greeted=False)
    driven.send({"t": "hello", "token": "good"})
    driven.send({"t": "ping"})
    driven.tick(60)
    assert texts(driven) == []


def test_bye_says_when_to_come_back() -> None:
    driven = live()
    driven.session.drain(1234)
    rows = texts(driven)
    assert rows[-1] == {"retry": "1234", "event": "bye", "data": '{"t":"bye","after":1234}'}


def test_a_close_says_why() -> None:
    assert sse.closed(4003, "token\nexpired") == (
        b'event: close\ndata: {"t":"close","code":4003,"reason":"token\\nexpired"}\n\n'
    )


def test_a_session_says_when_it_has_answered() -> None:
    driven = Driven()
    driven.sub(since=[1, 0])
    assert driven.session.has(1)
    assert driven.session.waits(1)
    driven.answer(view(1, 0))
    assert driven.session.has(1)
    assert not driven.session.waits(1)
    driven.send({"t": "sub", "id": 2, "feed": "tasks"})
    assert driven.session.waits(2)
    driven.session.feed_on(None, reset=False)
    assert driven.session.has(2)
    assert not driven.session.waits(2)
    assert not driven.session.has(3)
    assert not driven.session.waits(3)
