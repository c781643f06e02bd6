"""Where spans end up in tests: by OTLP over HTTP, decoded by OpenTelemetry's own definitions."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from milepost.runtime.otlp import request
from milepost.runtime.recorded import Recorded, encoded

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True)
class Seen:
    """A span as it arrived. Ids are hex digits, `parent` is empty for none, `links` are (trace, span), times in ns."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: frozenset[tuple[str, str]]
    failed: bool
    said: str
    events: tuple[tuple[str, dict[str, Any]], ...]
    began: int
    ended: int


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def spans_in(body: bytes) -> list[Seen]:
    """Return the spans of a request."""
    found = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = {a.key: _value(a.value) for a in resource.resource.attributes}["service.name"]
        for scope in resource.scope_spans:
            found += [
                Seen(
                    service=service,
                    name=s.name,
                    kind=_KINDS[s.kind],
                    trace=s.trace_id.hex(),
                    id=s.span_id.hex(),
                    parent=s.parent_span_id.hex(),
                    attributes={a.key: _value(a.value) for a in s.attributes},
                    links=frozenset((link.trace_id.hex(), link.span_id.hex()) for link in s.links),
                    failed=s.status.code == 2,
                    said=s.status.message,
                    events=tuple((e.name, {a.key: _value(a.value) for a in e.attributes}) for e in s.events),
                    began=s.start_time_unix_nano,
                    ended=s.end_time_unix_nano,
                )
                for s in scope.spans
            ]
    return found


class Receiver:
    """Takes spans and keeps them."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.url = ""

    def of(self, trace: str) -> list[Seen]:
        """Return those of one trace."""
        return [span for span in self.spans if span.trace == trace]

    async def take(self, request: web.Request) -> web.Response:
        """Answer a request."""
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.spans += spans_in(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


class Kept:
    """Takes the place of the export in this process: `monkeypatch.setattr(tracing, "_export", Kept())`."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    def add(self, span: Recorded) -> None:
        """Take a span."""
        self.requests.append(request({"service.name": "here"}, "", "", "", encoded([span])))

    @property
    def spans(self) -> list[Seen]:
        """Return those that were recorded."""
        return [span for each in self.requests for span in spans_in(each)]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Receive inside the block."""
    receiver = Receiver()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
