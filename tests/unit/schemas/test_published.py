"""The contracts on the wire."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost_schemas import Dispatch, Event, EventKind, Position
from milepost_schemas.__main__ import stale
from milepost_schemas.cloudevents import TYPES, UndecodableError, decode, header, headers_of
from milepost_schemas.frames import CloseCode, reconnects

PUBLISHED = Path(__file__).parents[3] / "schemas" / "published"
TASK = UUID(int=7)


def test_published_schemas_are_those_of_the_models() -> None:
    assert stale(PUBLISHED) == []


def test_a_record_names_what_it_is_by_the_kafka_binding_of_cloudevents() -> None:
    headers = headers_of(Dispatch, identity="a:1", source="/x", subject="a", traceparent="00-1")
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"dev.milepost.dispatch.v1",
        "ce_id": b"a:1",
        "ce_source": b"/x",
        "ce_subject": b"a",
        "content-type": b"application/json",
        "traceparent": b"00-1",
    }


def test_an_event_comes_out_as_it_went_in() -> None:
    event = Event(
        task=TASK,
        tenant="t",
        root=TASK,
        at=Position(2, 3),
        kind=EventKind.PROGRESS,
        time=datetime(2026, 1, 2, tzinfo=UTC),
        data={"progress": {"done": 1}},
    )
    headers = headers_of(Event, identity="x", source="/x", subject="x", traceparent=None)
    decoded = decode(Event, event.model_dump_json().encode(), headers)
    assert decoded == event
    assert decoded.at > Position(2, 2)


@given(st.binary(max_size=200) | st.none(), st.sampled_from(list(TYPES)))
def test_garbage_is_undecodable_and_nothing_else(value: bytes | None, model: type) -> None:
    headers = headers_of(model, identity="x", source="/x", subject="x", traceparent=None)
    with pytest.raises(UndecodableError):
        decode(model, value, headers)


def test_a_record_of_another_type_is_undecodable() -> None:
    with pytest.raises(UndecodableError, match="ce_type"):
        decode(Dispatch, b"{}", [("ce_type", b"dev.milepost.event.v1")])
    with pytest.raises(UndecodableError, match="ce_type"):
        decode(Dispatch, b"{}", [("ce_type", b"\xff\xfe")])


def test_a_header_that_is_not_there_is_none() -> None:
    assert header([], "traceparent") is None


def test_close_codes_tell_a_client_whether_to_come_back() -> None:
    for close in CloseCode:
        assert reconnects(close.code) == close.value.reconnect
    assert reconnects(None)
    assert reconnects(1006)
