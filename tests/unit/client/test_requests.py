"""What the client sends, and what it makes of refusals."""

import logging
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pydantic import BaseModel
from pydantic_core import to_json

from milepost.client import Client
from milepost.client.http import Answer, current_traceparent, refused
from milepost.client.reading import read_json
from milepost.client.requests import filtered, submission
from milepost.errors import ClientError, Refused, Unreachable
from milepost_schemas.problem import ProblemType


class Payload(BaseModel):
    to: int


def test_models_mappings_and_durations_become_json() -> None:
    body = submission(type="demo.count", payload=Payload(to=3), delay=timedelta(minutes=1), timeout=5, queue=None)
    assert body == {"type": "demo.count", "payload": {"to": 3}, "delay": 60.0, "timeout": 5}
    assert submission(type="x", payload={"a": 1}, labels={"b": "c"})["labels"] == {"b": "c"}


def test_filters_of_a_list_that_are_not_given_are_not_in_its_query() -> None:
    filters = {"state": "failed", "type": None, "created_from": datetime(2026, 1, 2, tzinfo=UTC)}
    assert filtered(filters, {"a": "b=c"}) == [
        ("state", "failed"),
        ("created_from", "2026-01-02T00:00:00+00:00"),
        ("label", "a=b=c"),
    ]
    assert filtered({"queue": None}, {}) == []


def test_a_problem_becomes_an_error_that_says_everything() -> None:
    problem = {"type": "t", "title": "T", "status": 422, "detail": "No.", "trace_id": "abc"}
    problem["errors"] = [{"path": "/to", "message": "too small"}]
    error = refused(Answer(422, {}, orjson.dumps(problem)))
    assert (error.status, error.type, error.trace_id) == (422, "t", "abc")
    assert str(error) == "No.\n  /to: too small"
    assert error.findings == (("/to", "too small"),)


@pytest.mark.parametrize("kind", ProblemType)
def test_each_problem_is_an_error_of_its_own(kind: ProblemType) -> None:
    problem = {"type": kind.uri, "title": kind.value.title, "status": kind.value.status, "detail": "Because."}
    error = refused(Answer(kind.value.status, {"Retry-After": "7"}, orjson.dumps(problem)))
    assert type(error) is not Refused
    assert (error.kind, error.type, error.status) == (kind.value.slug, kind.uri, kind.value.status)
    assert (str(error), error.retry_after) == ("Because.", 7.0)


def test_errors_are_those_of_the_table() -> None:
    kinds = [each.kind for each in Refused.__subclasses__()]
    assert sorted(kinds) == sorted(kind.value.slug for kind in ProblemType)


def test_a_problem_newer_than_the_client_is_refused_all_the_same() -> None:
    problem = {"type": "https://milepost.dev/problems/out-of-luck", "status": 418, "detail": "No luck."}
    error = refused(Answer(418, {}, orjson.dumps(problem)))
    assert (type(error), error.type, error.retry_after) == (Refused, problem["type"], None)


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b'"x"'])
def test_an_answer_of_something_else_still_says_its_status(body: bytes) -> None:
    said = str(refused(Answer(502, {}, body)))
    assert "HTTP 502" in said
    assert "Check MILEPOST_URL" in said


def test_an_answer_that_is_not_json_is_not_milepost() -> None:
    with pytest.raises(Unreachable, match="not Milepost"):
        Answer(200, {}, b"<html>").json()


async def test_a_client_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(ClientError, match="async with Client"):
        await Client("http://127.0.0.1:9", "key").get("01941f29-7c00-7d3e-8a5b-0242ac120002")


async def test_nobody_there_is_unreachable_within_the_time_given() -> None:
    async with Client("http://127.0.0.1:9", "key", repeat_for=0.3) as client:
        with pytest.raises(Unreachable, match="does not answer"):
            await client.submit("demo.count")


def test_the_callers_span_is_handed_on() -> None:
    assert current_traceparent() is None
    context = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        assert current_traceparent() == f"00-{0xA:032x}-{0xB:016x}-01"


def test_a_run_knows_nothing_before_it_asked() -> None:
    run = Client("http://127.0.0.1:9", "key").run("01941f29-7c00-7d3e-8a5b-0242ac120002")
    with pytest.raises(ValueError, match="refresh"):
        _ = run.task


def test_results_of_older_workers_with_numbers_no_float_holds_are_read() -> None:
    wide = {"state": "succeeded", "result": 10**400}
    assert Answer(200, {}, to_json(wide)).json() == wide
    assert read_json(to_json(wide).decode()) == wide


async def test_a_call_that_waits_says_once_what_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "milepost.client.http")
    async with Client("http://127.0.0.1:9", "key", repeat_for=1.2) as client:
        with pytest.raises(Unreachable):
            await client.submit("demo.count")
    (said,) = [record.getMessage() for record in caplog.records if record.name == "milepost.client.http"]
    assert "does not answer" in said
    assert "Trying again for up to 1 s" in said
