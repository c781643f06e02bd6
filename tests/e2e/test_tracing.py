"""Spans, as a collector receives them."""

import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.conftest import MakeSettings, eventually
from tests.system import running

pytestmark = pytest.mark.stack

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector:
    """Takes spans by OTLP over HTTP; `spans` are (service, name, trace id, span id, parent id)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str, str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [
                    (names["service.name"], s.name, s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex())
                    for s in scope.spans
                ]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collector
    await runner.cleanup()


async def test_one_trace_covers_all_three_services(fresh: MakeSettings, collector: Collector) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with running(await fresh(), env=env) as system, system.client() as client:
        async with aiohttp.ClientSession() as session:
            response = await session.post(
                f"{system.url}/v1/tasks",
                json={"type": "demo.count", "payload": {"to": 2, "delay": 0.05}},
                headers={"Authorization": f"Bearer {system.key}", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
            )
            task = await response.json()
        events = [event async for event in client.run(task["id"]).watch()]

        async def arrived() -> bool:
            mine = {service for service, _, trace, _, _ in collector.spans if trace == TRACE}
            return mine >= {"milepost-api", "milepost-worker", "milepost-notifier"}

        await eventually(arrived, "spans of all three services")
    spans = [span for span in collector.spans if span[2] == TRACE]
    by_id = {span_id for _, _, _, span_id, _ in spans} | {"b7ad6b7169203331"}
    assert all(parent in by_id for *_, parent in spans), spans
    names = {name for _, name, *_ in spans}
    assert {"POST /v1/tasks", "process demo.count"} <= names
    assert {event.traceparent[3:35] for event in events if event.traceparent} == {TRACE}
