"""Spans that handlers make, with OpenTelemetry's own API: under the span of their attempt, without any set-up.

In a process of its own a handler's spans go to the worker, which exports them: see `spans_to`.
"""

import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from milepost.runtime.handlerspan import TASK, TENANT

TOGETHER: Final = 64
"""So many spans of a process go to the worker at once, at most."""
SPANS_MOST: Final = 10_000
"""Of one attempt in a process; what is more is left out."""


def resource_of(service: str) -> dict[str, Any]:
    """Return what describes this process, by OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME too."""
    ours = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or f"milepost-{service}",
        "service.namespace": "milepost",
        "service.version": version("milepost"),
        "service.instance.id": str(uuid.uuid4()),
    }
    told = dict(Resource.create().attributes)
    return {**ours, **{name: value for name, value in told.items() if name != "service.name"}}


def provider_of(resource: Mapping[str, Any]) -> TracerProvider:
    """Return the provider of this process, and make it everybody's, unless a module with tasks has brought its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(resource=Resource(resource), shutdown_on_exit=False)
    provider.add_span_processor(Named())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    make_everybodys(provider)
    return provider


def make_everybodys(provider: trace.TracerProvider) -> None:
    """Let whoever asks OpenTelemetry for a tracer get one of this provider."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)


class Named(SpanProcessor):
    """Puts the task and the tenant, which the baggage of a handler names, on each of its spans."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Name them."""
        for name in (TASK, TENANT):
            if (value := baggage.get_baggage(name, parent_context)) is not None:
                span.set_attribute(name, str(value))


class Lazy(trace.TracerProvider):
    """Makes a provider when somebody asks for a tracer: most handlers never do, and it takes a few milliseconds."""

    def __init__(self, make: Callable[[], trace.TracerProvider]) -> None:
        self._make = make
        self._made: trace.TracerProvider | None = None

    def get_tracer(self, *arguments: Any, **options: Any) -> trace.Tracer:
        """Return a tracer."""
        if self._made is None:
            self._made = self._make()
        return self._made.get_tracer(*arguments, **options)


class Outbound(SpanProcessor):
    """Encodes the spans of a process, a few at a time, and hands them to whoever exports them."""

    def __init__(self, send: Callable[[bytes], object], most_bytes: int) -> None:
        """`send` takes an ExportTraceServiceRequest of up to so many bytes; spans that are larger are left out."""
        self._send = send
        self._most_bytes = most_bytes
        self._ended: list[ReadableSpan] = []
        self._lock = threading.RLock()
        self._count = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span."""
        if span.context is None or not span.context.trace_flags.sampled or self._count >= SPANS_MOST:
            return
        with self._lock:
            self._count += 1
            self._ended.append(span)
            full = len(self._ended) >= TOGETHER
        if full:
            self.send()

    def send(self) -> None:
        """Hand over what there is."""
        with self._lock:
            ended, self._ended = self._ended, []
        if ended:
            self._encoded(ended)

    def close(self) -> None:
        """Take no more, and leave out what was not handed over."""
        self._count = SPANS_MOST
        self._ended = []

    def _encoded(self, spans: Sequence[ReadableSpan]) -> None:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        with suppress(Exception):  # a span that cannot be encoded is no reason to fail its task
            data = encode_spans(spans).SerializeToString()
            if len(data) <= self._most_bytes:
                self._send(data)
            elif len(spans) > 1:
                self._encoded(spans[: len(spans) // 2])
                self._encoded(spans[len(spans) // 2 :])

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Hand over what there is."""
        self.send()
        return True


def spans_to(outbound: Outbound, service: str) -> TracerProvider:
    """Return the provider of a process whose spans somebody else exports."""
    provider = TracerProvider(resource=Resource(resource_of(service)), shutdown_on_exit=False)
    provider.add_span_processor(Named())
    provider.add_span_processor(outbound)
    return provider
