"""The servers that listen for strangers, one at a time, with short patience, and a bare line to each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from milepost.live import connect
from milepost.runtime.health import Health, application, serving
from milepost.runtime.settings import Settings
from milepost.store import Store, migrate, open_pool
from milepost_notifier.edge import Edge
from milepost_notifier.streams import Streams
from tests.conftest import MakeSettings
from tests.integration.api.serving import NOBODY, served

PATIENCE_S = 0.3
"""What the servers here wait for; a test waits for what happens then, not for this."""


@dataclass
class Listener:
    """A server that was started: where it is, and a path that anybody may ask for."""

    name: str
    port: int
    open_path: str
    large_path: str

    def request(self, path: str | None = None, *headers: str) -> bytes:
        """Return the bytes of a GET."""
        lines = (f"GET {path or self.open_path} HTTP/1.1", "Host: x", *headers, "", "")
        return "\r\n".join(lines).encode()


@pytest.fixture(scope="package")
async def own_settings(fresh: MakeSettings) -> Settings:
    """Give settings of a corner of the servers."""
    made = await fresh(
        kafka_bootstrap=NOBODY, notifier_port=0, notifier_http_port=0, allowed_origins=["https://app.example"]
    )
    await migrate(made)
    return made


@asynccontextmanager
async def _api(settings: Settings) -> AsyncIterator[Listener]:
    async with served(settings) as api:
        port = urlsplit(api.url).port
        assert port is not None
        yield Listener("api", port, "/v1/livez", "/v1/openapi.json")


@asynccontextmanager
async def _notifier(settings: Settings) -> AsyncIterator[Listener]:
    async with AsyncExitStack() as stack:
        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        pool = await open_pool(settings, "test")
        stack.callback(pool.terminate)
        app = application(Health({}, {}))
        app.add_subapp("/v1", Streams(Edge(settings, redis, Store(pool)), settings).application())
        port = await stack.enter_async_context(serving(app, "127.0.0.1", 0))
        yield Listener("notifier", port, "/livez", "/readyz")


@asynccontextmanager
async def _worker(_settings: Settings) -> AsyncIterator[Listener]:
    async with serving(application(Health({}, {})), "127.0.0.1", 0) as port:
        yield Listener("worker", port, "/livez", "/readyz")


SERVERS = {"api": _api, "notifier": _notifier, "worker": _worker}


@pytest.fixture(params=SERVERS)
async def server(
    request: pytest.FixtureRequest, own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Listener]:
    """Start each server that speaks HTTP, in turn; none waits long for anybody."""
    for patience in (
        "milepost_api.connection.HEADERS_S",
        "milepost_api.together.STUCK_S",
        "milepost_api.server._KEEP_ALIVE_S",
        "milepost.runtime.health.IDLE_S",
        "milepost.runtime.health.LINGER_S",
        "milepost.runtime.health.STUCK_S",
    ):
        monkeypatch.setattr(patience, PATIENCE_S)
    async with SERVERS[request.param](own_settings) as listener:
        yield listener


class Line:
    """A bare connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body of the next answer. Raises EOFError, ConnectionError."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)

    async def all(self) -> bytes:
        """Return everything that is said until the server closes."""
        parts = []
        try:
            while part := await self.reader.read(65536):
                parts.append(part)
        except ConnectionError:
            pass
        return b"".join(parts)

    async def drip(self, data: bytes) -> None:
        """Send the same again and again, slowly, until the server closes; fails if it never does."""

        async def go_on() -> None:
            while True:
                await self.send(data)
                await asyncio.sleep(PATIENCE_S / 10)

        dripping = asyncio.create_task(go_on())
        try:
            async with asyncio.timeout(20):
                await self.all()
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


@asynccontextmanager
async def line_to(port: int, **options: int) -> AsyncIterator[Line]:
    """Connect; `options` are those of `asyncio.open_connection`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()
