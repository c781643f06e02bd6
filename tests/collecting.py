"""The OpenTelemetry Collector of this repository, where it was built (`make collector`), for tests."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from milepost.embedded.ports import allocate
from milepost.embedded.processes import ManagedProcess
from tests.conftest import eventually
from tests.otlp import Receiver
from tests.system import ROOT

OTELCOL: Final = ROOT / ".tools" / "bin" / "otelcol"


@asynccontextmanager
async def collecting(receiver: Receiver, home: Path) -> AsyncIterator[str]:
    """Give the address spans are sent to: of a Collector before the receiver, if there is one on this machine."""
    if not OTELCOL.exists():
        yield receiver.url
        return
    http, grpc, health = allocate(["otlp-http", "otlp-grpc", "otlp-health"], {}, home / "otelcol.json").values()
    to_us = f"yaml:exporters::otlp_http::endpoint: {receiver.url}"
    argv = [str(OTELCOL), "--config", str(ROOT / "deploy/otel-collector.yaml"), "--config", to_us]
    argv += ["--config", "yaml:service::pipelines::traces::exporters: [otlp_http]"]
    env = os.environ | {
        "OTELCOL_HTTP_ENDPOINT": f"127.0.0.1:{http}",
        "OTELCOL_GRPC_ENDPOINT": f"127.0.0.1:{grpc}",
        "OTELCOL_HEALTH_ENDPOINT": f"127.0.0.1:{health}",
        "OTELCOL_DECISION_WAIT": "6s",
        "OTELCOL_KEEP_PERCENT": "0",
    }
    process = ManagedProcess("otelcol", argv, env, home)
    for folder in ("log", "run"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    await process.start()
    try:
        await answers(f"http://127.0.0.1:{health}")
        yield f"http://127.0.0.1:{http}"
    finally:
        await process.stop()


async def answers(url: str) -> None:
    """Wait until a server answers with 200."""

    async def up() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(up, url, 60.0)
