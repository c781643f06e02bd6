"""W3C trace context, and the spans of our own. Without OTEL_EXPORTER_OTLP_ENDPOINT a trace is only an id.

A span is known by its traceparent, which is made before the span begins and goes with whatever follows from it; the
span itself is recorded once, when it has ended. Spans of handlers come from the OpenTelemetry SDK, see `userspans`.
"""

import os
import random
import re
from collections.abc import Mapping
from functools import partial
from time import time_ns
from typing import Any, Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from milepost.runtime import otlp
from milepost.runtime.recorded import Sort
from milepost.runtime.spanexport import SpanExport

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions that names of spans and attributes follow."""
_TRACEPARENT: Final = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = frozenset("13579bdf")
_EPOCHS: Final = 0x9E37_79B9_7F4A_7C15
_64_BITS: Final = 0xFFFF_FFFF_FFFF_FFFF
_TASK: Final = otlp.attribute("milepost.task.id", "0" * 36)[:-36]
"""All of the attribute but the id, whose length is always the same."""
_export: SpanExport | None = None
_provider: Any = None
_sampler: Any = None
"""None: the usual one, which follows whoever asks and keeps all that nobody decided about."""


def set_up_tracing(service: str) -> bool:
    """Export spans by OTLP over HTTP if OTEL_EXPORTER_OTLP_ENDPOINT names a collector; return whether it does.

    Sampling, headers and resource come from the OTEL_* variables of the OpenTelemetry specification.
    """
    global _export, _provider, _sampler  # noqa: PLW0603 - one tracer provider a process, by OpenTelemetry's own design
    if not wanted():
        return False
    from milepost.runtime.userspans import provider_of, resource_of

    resource = resource_of(service)
    _provider = provider_of(resource)
    usual = os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on") == "parentbased_always_on"
    _sampler = None if usual else _provider.sampler
    version = str(resource["service.version"])
    _export = SpanExport(partial(otlp.request, resource, "milepost", version, SCHEMA_URL))
    return True


def wanted() -> bool:
    """Whether the environment says where spans go."""
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return bool(endpoint) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def tracing_on() -> bool:
    """Return whether spans are exported; where they are not, what would describe them need not be made."""
    return _export is not None


def shut_down_tracing() -> None:
    """Send what is still buffered, ours and that of handlers. Bounded by the exporters' own timeouts."""
    global _export, _provider, _sampler  # noqa: PLW0603 - see above
    export, provider = _export, _provider
    _export = _provider = _sampler = None
    if export is not None:
        export.stop()
        provider.shutdown()


def new_traceparent(*, sampled: bool = False) -> str:
    """Return the start of a new trace."""
    # Ids have to differ, not to be secret; the generator is seeded anew in forked processes.
    bits = random.getrandbits(192) | 1 << 191 | 1
    return f"00-{bits >> 64:032x}-{bits & _64_BITS:016x}-{'01' if sampled else '00'}"


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


def context_of(traceparent: str) -> SpanContext:
    """Return the same as OpenTelemetry's API has it."""
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def recorded(traceparent: str | None) -> bool:
    """Whether spans of this trace are recorded here: they are exported, and the trace was sampled where it began."""
    return _export is not None and traceparent is not None and traceparent[-1] in _SAMPLED


def entered(parent: str | None, name: str) -> str:
    """Return the traceparent of the span of a request that comes in; `parent` is what the caller sent, None: nothing.

    Here it is decided whether the trace is sampled. Where spans are not exported none is made: what came goes on.
    """
    if _export is None:
        return parent or new_traceparent()
    if _sampler is None:
        return new_traceparent(sampled=True) if parent is None else within(parent)
    begun = new_traceparent() if parent is None else within(parent)
    above = None if parent is None else trace.set_span_in_context(NonRecordingSpan(context_of(parent)))
    result = _sampler.should_sample(above, int(begun[3:35], 16), name, SpanKind.SERVER)
    return begun[:53] + ("01" if result.decision.is_sampled() else "00")


def within(traceparent: str) -> str:
    """Return the traceparent of a new span of the same trace."""
    return f"{traceparent[:36]}{random.getrandbits(64) | 1:016x}{traceparent[52:]}"


def run_of(traceparent: str, task: UUID, epoch: int, *, own_trace: bool = False) -> str:
    """Return the traceparent of the span of one run of a task, which all can name who know the epoch of its claim.

    So what follows from an attempt can be tied to it by whoever comes after a worker that died. It is in the trace of
    the submission, unless runs have an `own_trace`.
    """
    bits = (task.int ^ epoch * _EPOCHS) & _64_BITS or 1
    trace_id = f"00-{(task.int ^ bits << 64) or 1:032x}-" if own_trace else traceparent[:36]
    return f"{trace_id}{bits:016x}{traceparent[52:]}"


def record(sort: Sort, me: str | None, parent: str | None, start_ns: int, end_ns: int, *values: Any) -> None:
    """Export a span that has ended, at `end_ns`; 0: now. `me` and `parent` are traceparents; one of them may be None.

    No `me`: it is under its parent, and nobody has to name it. `sort(*values)` returns what else it has, by `otlp`; it
    is called later, by another thread: values must not change, nor be large. To be called where `recorded` says so. One
    too many is dropped and counted.
    """
    if _export is not None:
        _export.add((sort, me, parent, start_ns, end_ns or time_ns(), values))


def hand_on(request: bytes) -> None:
    """Export what another process of ours has encoded: an ExportTraceServiceRequest."""
    if _export is not None:
        _export.add_request(request)


def link_to(traceparent: str) -> bytes:
    """Return a link to a span."""
    return otlp.link(bytes.fromhex(traceparent[3:35]), bytes.fromhex(traceparent[36:52]))


def of_task(task: object, tenant: str) -> bytes:
    """Return the attributes by which all spans that concern a task are found; `task` is its id, or that as text."""
    return _TASK + str(task).encode() + otlp.known("milepost.tenant", tenant)


def failed(kind: str, message: str = "", more: Mapping[str, Any] | None = None) -> bytes:
    """Return status and `error.type` of a span that failed; `more` is what is known of the exception."""
    said = otlp.known("error.type", kind) + otlp.failed(message)
    return said if more is None else said + otlp.event("exception", time_ns(), more)
