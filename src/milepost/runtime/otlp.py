"""Spans as OTLP carries them: protobuf that is put together from parts made once, for a span costs a few microseconds.

https://github.com/open-telemetry/opentelemetry-proto, trace/v1/trace.proto. The SDK makes a dozen objects for each span
and writes every byte of it anew; a task has ten spans, and may cost a tenth more with them (decision 25).
"""

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from opentelemetry.trace import SpanKind

_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_TIMES: Final = struct.Struct("<BQBQ")
_SIZES_KNOWN: Final = 2_048
_START, _END = 0x39, 0x41
_TEXT_MOST: Final = 8_000
"""Characters of an attribute; what is longer is cut. A stack trace has 4,000 at most."""

Value = str | bool | int | float


def varint(number: int) -> bytes:
    """Return a number from 0 on as protobuf writes lengths and integers."""
    if number < 128:
        return bytes((number,))
    if number < 16_384:
        return bytes((number & 127 | 128, number >> 7))
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def field(tag: bytes, body: bytes) -> bytes:
    """Return a field that has a length: bytes, text or a message."""
    return tag + varint(len(body)) + body


def _key_value(name: str, value: Value) -> bytes:
    if isinstance(value, bool):
        held = b"\x10" + varint(value)
    elif isinstance(value, int):
        held = b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    elif isinstance(value, float):
        held = b"\x21" + struct.pack("<d", value)
    else:
        held = field(b"\x0a", value[:_TEXT_MOST].encode("utf-8", "replace"))
    return field(b"\x0a", name.encode()) + field(b"\x12", held)


def attribute(name: str, value: Value) -> bytes:
    """Return one attribute of a span."""
    return field(b"\x4a", _key_value(name, value))


known: Final = lru_cache(4_096)(attribute)
"""The same for values that come again and again: names of queues, types and tenants, small numbers."""


def attributes(values: Mapping[str, Any]) -> bytes:
    """Return attributes of whatever sort; what is no text, number or truth is written as text."""
    return b"".join(attribute(n, v if isinstance(v, Value) else str(v)) for n, v in values.items())


@lru_cache(4_096)
def shape(name: str, kind: SpanKind, static: tuple[tuple[str, Value], ...] = ()) -> bytes:
    """Return what all spans of one sort have in common: name, kind, attributes that are always the same."""
    return (
        field(b"\x2a", name.encode("utf-8", "replace"))
        + b"\x30"
        + varint(_KINDS[kind])
        + b"".join(attribute(key, value) for key, value in static)
    )


def event(name: str, at_ns: int, values: Mapping[str, Any]) -> bytes:
    """Return something that happened within a span."""
    held = b"".join(field(b"\x1a", _key_value(n, v if isinstance(v, Value) else str(v))) for n, v in values.items())
    return field(b"\x5a", b"\x09" + struct.pack("<Q", at_ns) + field(b"\x12", name.encode()) + held)


def link(trace_id: bytes, span_id: bytes) -> bytes:
    """Return that a span has to do with another one."""
    return b"\x6a\x1c\x0a\x10" + trace_id + b"\x12\x08" + span_id


def failed(message: str) -> bytes:
    """Return the status of a span that failed; an empty message: no more is known than that."""
    said = field(b"\x12", message[:_TEXT_MOST].encode("utf-8", "replace")) if message else b""
    return field(b"\x7a", said + b"\x18\x02")


_SIZES: Final = tuple(varint(size) for size in range(_SIZES_KNOWN))
"""Of nearly all spans."""


def span(trace_id: bytes, span_id: bytes, parent: bytes, start_ns: int, end_ns: int, rest: bytes) -> bytes:
    """Return a span as a field of ScopeSpans: ids of 16, 8 and 8 bytes (no parent: none), Unix times in nanoseconds.

    `rest` are its shape and whatever else of the above it has.
    """
    times = _TIMES.pack(_START, start_ns, _END, end_ns)
    size = (56 if parent else 46) + len(rest)
    length = _SIZES[size] if size < _SIZES_KNOWN else varint(size)
    if parent:
        return b'\x12%b\x0a\x10%b\x12\x08%b"\x08%b%b%b' % (length, trace_id, span_id, parent, times, rest)
    return b"\x12%b\x0a\x10%b\x12\x08%b%b%b" % (length, trace_id, span_id, times, rest)


def request(resource: Mapping[str, Any], scope: str, version: str, schema_url: str, spans: Iterable[bytes]) -> bytes:
    """Return an ExportTraceServiceRequest of spans. Several, one behind the other, are one request too."""
    described = b"".join(
        field(b"\x0a", _key_value(n, v if isinstance(v, Value) else str(v))) for n, v in resource.items()
    )
    named = field(b"\x0a", scope.encode()) + field(b"\x12", version.encode())
    schema = field(b"\x1a", schema_url.encode())
    # Lengths first and bytes once: each message within a message would copy all spans again.
    scope_spans = [field(b"\x0a", named), *spans, schema]
    in_scope = sum(map(len, scope_spans))
    above = field(b"\x0a", described) + b"\x12" + varint(in_scope)
    in_resource = len(above) + in_scope + len(schema)
    return b"".join((b"\x0a", varint(in_resource), above, *scope_spans, schema))
