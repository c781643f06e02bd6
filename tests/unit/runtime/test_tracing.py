"""Spans that are put together by hand say what the SDK's would, and a trace is carried where none are made."""

import asyncio
import random
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from milepost.runtime import otlp, tracing
from milepost.runtime.handlerspan import AttemptSpan
from tests.otlp import Kept, Seen, receiving, spans_in

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TASK = UUID("01890000-0000-7000-8000-0123456789ab")
VALUES: Mapping[str, Any] = {
    "text": "grüße", "empty": "", "long": "x" * 300, "yes": True, "no": False, "none": 0, "some": 300, "less": -1,
    "most": 2**62, "part": 0.25,
}  # fmt: skip


def by_hand(parent: str | None) -> Seen:
    me = tracing.within(TRACE)
    rest = otlp.attributes(VALUES) + otlp.failed("went wrong") + otlp.event("happened", 7, {"how": "so"})
    span = otlp.span(
        bytes.fromhex(me[3:35]),
        bytes.fromhex(me[36:52]),
        b"" if parent is None else bytes.fromhex(parent[36:52]),
        1_000,
        2_000,
        otlp.shape("do it", SpanKind.PRODUCER, (("always", "the same"),)) + rest + tracing.link_to(TRACE),
    )
    (seen,) = spans_in(otlp.request({"service.name": "s", "number": 3}, "milepost", "1", tracing.SCHEMA_URL, [span]))
    return seen


def by_the_sdk(me: Seen, parent: str | None) -> Seen:
    context = SpanContext(int(me.trace, 16), int(me.id, 16), is_remote=False, trace_flags=TraceFlags(1))
    above = None if parent is None else tracing.context_of(parent)
    from opentelemetry.sdk.trace import Event

    span = ReadableSpan(
        "do it",
        context,
        above,
        Resource({"service.name": "s"}),
        {"always": "the same", **VALUES},
        [Event("happened", {"how": "so"}, timestamp=7)],
        [Link(tracing.context_of(TRACE))],
        SpanKind.PRODUCER,
        None,
        Status(StatusCode.ERROR, "went wrong"),
        1_000,
        2_000,
        InstrumentationScope("milepost"),
    )
    (seen,) = spans_in(encode_spans([span]).SerializeToString())
    return seen


@pytest.mark.parametrize("parent", [None, TRACE])
def test_a_span_by_hand_is_what_the_sdk_makes_of_the_same(parent: str | None) -> None:
    ours = by_hand(parent)
    assert ours == by_the_sdk(ours, parent)


def test_every_length_is_written_as_protobuf_reads_it() -> None:
    chance = random.Random(1)
    for size in (0, 1, 63, 64, 100, 120, 127, 128, 129, 1_000, 7_999, *(chance.randrange(8_000) for _ in range(50))):
        span = otlp.span(b"t" * 16, b"s" * 8, b"", 1, 2, otlp.attribute("name", "y" * size))
        (seen,) = spans_in(otlp.request({"service.name": "s"}, "", "", "", [span]))
        assert seen.attributes == {"name": "y" * size}


def test_requests_one_behind_the_other_are_one() -> None:
    span = otlp.span(b"t" * 16, b"s" * 8, b"", 1, 2, otlp.shape("a", SpanKind.INTERNAL))
    both = otlp.request({"service.name": "a"}, "", "", "", [span, span]) + otlp.request(
        {"service.name": "b"}, "", "", "", [span]
    )
    assert [seen.service for seen in spans_in(both)] == ["a", "a", "b"]
    assert len(ExportTraceServiceRequest.FromString(both).resource_spans) == 2


def test_runs_of_a_task_have_spans_that_anybody_can_name() -> None:
    runs = [tracing.run_of(TRACE, TASK, epoch) for epoch in range(50)]
    assert len(set(runs)) == 50
    assert all(tracing.valid_traceparent(run) and run[:36] == TRACE[:36] and run[-3:] == "-01" for run in runs)
    assert runs == [tracing.run_of(TRACE, TASK, epoch) for epoch in range(50)]
    apart = [tracing.run_of(TRACE, TASK, epoch, own_trace=True) for epoch in range(50)]
    assert len({run[3:35] for run in apart} | {TRACE[3:35]}) == 51
    assert all(map(tracing.valid_traceparent, apart))


def test_where_no_spans_are_exported_the_trace_is_carried_as_it_came() -> None:
    assert tracing.entered(TRACE, "GET /") == TRACE
    begun = tracing.entered(None, "GET /")
    assert tracing.valid_traceparent(begun) == begun
    assert begun.endswith("-00")
    assert not tracing.recorded(TRACE)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Give the spans that would be exported."""
    kept = Kept()
    monkeypatch.setattr(tracing, "_export", kept)
    return kept


def test_a_trace_is_sampled_where_it_was_and_kept_if_nobody_decided(exported: Kept) -> None:
    assert tracing.entered(TRACE, "GET /")[:36] == TRACE[:36]
    assert tracing.recorded(tracing.entered(TRACE, "GET /"))
    assert not tracing.recorded(tracing.entered(TRACE[:-1] + "0", "GET /"))
    assert tracing.recorded(tracing.entered(None, "GET /"))
    assert exported.spans == []


def test_another_sampler_is_asked(exported: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    monkeypatch.setattr(tracing, "_sampler", ALWAYS_OFF)
    assert not tracing.recorded(tracing.entered(TRACE, "GET /"))
    monkeypatch.setattr(tracing, "_sampler", ALWAYS_ON)
    assert tracing.recorded(tracing.entered(TRACE[:-1] + "0", "GET /"))
    assert exported.spans == []


def test_what_a_handler_adds_to_the_span_of_its_attempt_is_recorded(exported: Kept) -> None:
    span = AttemptSpan(TRACE)
    assert span.is_recording()
    assert f"{span.get_span_context().trace_id:032x}" == TRACE[3:35]
    span.set_attributes({"a": 1})
    span.set_attribute("b", [1, 2])
    span.add_event("said", {"what": "so"}, 5)
    span.record_exception(KeyError("c"), timestamp=6)
    span.set_status(StatusCode.ERROR, "half done")
    span.update_name("other")
    span.end()
    more = span.added(failed=False)
    tracing.record(lambda more: otlp.shape("process t", SpanKind.CONSUMER) + more, TRACE, None, 1, 0, more)
    (seen,) = exported.spans
    assert seen.attributes == {"a": 1, "b": "[1, 2]"}
    assert [name for name, _ in seen.events] == ["said", "exception"]
    assert (seen.name, seen.failed, seen.said) == ("process t", True, "half done")
    (seen,) = spans_in(
        otlp.request(
            {"service.name": "s"}, "", "", "", [otlp.span(b"t" * 16, b"s" * 8, b"", 1, 2, span.added(failed=True))]
        )
    )
    assert not seen.failed


async def test_spans_leave_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url + "/")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")
        from milepost.runtime.spanexport import SpanExport

        export = SpanExport(partial(otlp.request, {"service.name": "s"}, "milepost", "1", ""))
        for number in range(10):
            # One of them is nonsense, which spoils none of the others.
            export.add((partial(_number, number), None, TRACE, 1, 2, ()))
        export.add_request(b"nonsense")
        await asyncio.to_thread(export.stop)
        assert sorted(span.attributes["number"] for span in receiver.spans) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert {(span.trace, span.parent) for span in receiver.spans} == {(TRACE[3:35], TRACE[36:52])}
        assert len({span.id for span in receiver.spans}) == 9


def _number(number: int) -> bytes:
    if number == 3:
        raise ValueError(number)
    return otlp.shape("a", SpanKind.INTERNAL) + otlp.attribute("number", number)
