"""Secrets are in no log, no answer and no span, also when they are sent where they do not belong."""

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from milepost.domain.grant import Grant
from milepost.runtime.tokens import Tokens
from tests.conftest import MakeSettings, eventually
from tests.integration.api.serving import NOBODY
from tests.secrets import found_in, found_in_files, secrets_of
from tests.system import System, running

pytestmark = pytest.mark.stack
SECRET = "correct-horse-battery-staple-0123456789"


class Collector:
    """Takes spans; `text` is all that they said."""

    def __init__(self) -> None:
        self.url = ""
        self.text = ""
        self.spans = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        said = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        self.spans += sum(len(scope.spans) for each in said.resource_spans for scope in each.scope_spans)
        self.text += str(said)
        return web.Response(content_type="application/x-protobuf")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_secrets_that_are_sent_where_they_do_not_belong_are_told_to_nobody(
    fresh: MakeSettings, collector: Collector
) -> None:
    settings = await fresh(token_secret=SECRET)
    env = {
        "MILEPOST_LOG_LEVEL": "debug",
        "MILEPOST_TOKEN_SECRET": SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    known = secrets_of(settings)
    async with running(settings, env=env) as system, aiohttp.ClientSession() as session:
        made = await _answer(session, "POST", f"{system.url}/v1/keys", system.key, json={"name": "leaky"})
        ticket = await _answer(session, "POST", f"{system.url}/v1/tickets", system.key)
        token = Tokens.of(settings).sign(settings.tenant, Grant(feed=True), 3600)[0]
        spent = {made["key"], token, ticket["ticket"]}
        known |= spent
        said = ""
        for secret in sorted(known):
            for url in _everywhere(system, secret):
                said += await _tell(session, url, {})
                for header in ("Authorization", "Cookie", "traceparent", "Idempotency-Key", "If-None-Match", "Origin"):
                    said += await _tell(session, url, {header: f"Basic {secret}"})
                    said += await _tell(session, url, {header: secret})
                said += await _tell(session, url, {"Authorization": f"Bearer {secret}x"})
        async with system.client() as client:
            run = await client.submit("demo.echo", {"said": "nothing"})
            assert [event async for event in run.watch()][-1].last

        async def told() -> bool:
            return collector.spans > 10

        await eventually(told, "spans")
    assert not found_in_files((process.log_path for process in system.processes), known)
    assert not found_in(collector.text, known)
    assert not found_in(said, known)


async def _answer(session: aiohttp.ClientSession, method: str, url: str, key: str, **options: Any) -> Any:
    async with session.request(method, url, headers={"Authorization": f"Bearer {key}"}, **options) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


def _everywhere(system: System, secret: str) -> list[str]:
    stream = system.streams[0].replace("ws://", "http://")
    return [
        f"{system.url}/v1/tasks?token={secret}",
        f"{system.url}/v1/tasks/{secret}",
        f"{system.url}/v1/{secret}",
        f"{system.url}/v1/tasks?cursor={secret}",
        f"{stream}?token={secret}",
        f"{stream}?ticket={secret[:60]}x",
        f"{system.notifier_urls[0]}/v1/events?token={secret}",
        f"{system.notifier_urls[0]}/v1/events?ticket={secret[:60]}x",
        f"{system.notifier_urls[0]}/{secret}",
    ]


async def _tell(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> str:
    """Return what is answered, and the headers."""
    async with session.get(url, headers=headers) as answer:
        if answer.status == 200:  # a stream, or a list
            return str(answer.headers)
        return f"{answer.headers} {await answer.text()}"


@pytest.mark.parametrize("service", ["milepost_api", "milepost_notifier", "milepost_worker"])
async def test_wrong_passwords_are_in_no_log(fresh: MakeSettings, tmp_path: Path, service: str) -> None:
    settings = await fresh()
    database = settings.database_url.get_secret_value()
    password = next(iter(secrets_of(settings) - {str(settings.api_key and settings.api_key.get_secret_value())}))
    redis = f"redis://:{SECRET}@{settings.redis_url.get_secret_value().rpartition('@')[2]}"
    env = {
        "PATH": os.environ["PATH"],
        "MILEPOST_DATABASE_URL": database.replace(f":{password}@", f":{SECRET}@") if password in database else database,
        "MILEPOST_REDIS_URL": redis,
        "MILEPOST_KAFKA_BOOTSTRAP": NOBODY,
        "MILEPOST_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "MILEPOST_KAFKA_SASL_USERNAME": "milepost",
        "MILEPOST_KAFKA_SASL_PASSWORD": SECRET,
        "MILEPOST_API_KEY": SECRET,
        "MILEPOST_API_PORT": "0",
        "MILEPOST_NOTIFIER_PORT": "0",
        "MILEPOST_NOTIFIER_HTTP_PORT": "0",
        "MILEPOST_TASKS": "milepost.demo",
        "MILEPOST_LOG_LEVEL": "debug",
        "MILEPOST_LOG_FORMAT": "json",
    }
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", service, env=env, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT
        )
    try:

        async def complains() -> bool:
            return process.returncode is not None or "kafka" in log.read_text().lower()

        await eventually(complains, "it says that it is not let in", 60)
        await asyncio.wait({asyncio.create_task(process.wait())}, timeout=2)  # more of it
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = log.read_text()
    assert said
    assert not found_in(said, {SECRET})
