"""W3C trace context and spans. Without OTEL_EXPORTER_OTLP_ENDPOINT a trace is only an id that is carried along."""

import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags

_TRACEPARENT: Final = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_enabled = False


def set_up_tracing(service: str) -> bool:
    """Export spans by OTLP over HTTP if OTEL_EXPORTER_OTLP_ENDPOINT names a collector; return whether it does.

    Sampling, headers and resource come from the OTEL_* variables of the OpenTelemetry specification.
    """
    global _enabled  # noqa: PLW0603 - one tracer provider a process, by OpenTelemetry's own design
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not endpoint or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"milepost-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _enabled = True
    return True


def tracing_on() -> bool:
    """Return whether spans are exported; where they are not, what would describe them need not be made."""
    return _enabled


def shut_down_tracing() -> None:
    """Send what is still buffered. Bounded by the exporter's own timeout."""
    if _enabled:
        provider: Any = trace.get_tracer_provider()
        provider.shutdown()


def new_traceparent() -> str:
    """Return the start of a new, unsampled trace."""
    # Ids have to differ, not to be secret; the generator is seeded anew in forked processes.
    bits = random.getrandbits(192) | 1 << 191 | 1
    return f"00-{bits >> 64:032x}-{bits & 0xFFFF_FFFF_FFFF_FFFF:016x}-00"


def valid_traceparent(text: str | None) -> str | None:
    """Return `text` if it is a usable version-00 traceparent (W3C Trace Context 1), else None."""
    if text is None:
        return None
    match = _TRACEPARENT.match(text)
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return text


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the 32 hex digits of the trace; None without one."""
    return traceparent[3:35] if traceparent else None


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def span(
    name: str,
    kind: SpanKind,
    parent: str | None,
    attributes: Mapping[str, Any] | None = None,
    links: tuple[str, ...] = (),
) -> Iterator[str]:
    """Run the block in a span under `parent` and give the traceparent to hand on.

    Without an exporter no span is made: `parent`, or a new trace's start, is handed on as it is. An exception is
    recorded on the span and goes on.
    """
    if not _enabled:
        yield parent or new_traceparent()
        return
    context = trace.set_span_in_context(NonRecordingSpan(_context(parent))) if parent else None
    with trace.get_tracer("milepost").start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=dict(attributes or {}),
        links=[Link(_context(link)) for link in links],
    ) as current:
        yield _traceparent(current)
