"""The relays that are compared: each a process of its own on the stand's Redis, for as long as it is measured."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from redis.asyncio import Redis

from benchmarks.relay.client import Line
from benchmarks.relay.feeds import Applied, Feed, Posted, Published, Written
from milepost.cli.dev.service import Service
from milepost.cli.dev.stand import Stand
from milepost.embedded import ManagedProcess
from milepost.embedded.ports import SERVER_PORTS, is_free
from milepost.errors import MilepostError
from milepost.live import connect
from milepost.log import Writer
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings

_MODULES: Final = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"))


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay that runs. `pid`: its process, whose children count with it."""

    name: str
    line: Line
    feed: Feed
    pid: int

    def cpu(self) -> float:
        """Return its CPU seconds so far."""
        return sum(times.user + times.system for times in (member.cpu_times() for member in self._members()))

    def memory(self) -> int:
        """Return the bytes of memory that are its own, shared pages by their share (PSS)."""
        total = 0
        for member in self._members():
            for row in Path(f"/proc/{member.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if row.startswith("Pss:"):
                    total += int(row.split()[1]) * 1024
        return total

    def _members(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


Start = Callable[[], AbstractAsyncContextManager[Relay]]


class Relays:
    """Starts relays beside a stand."""

    def __init__(self, stand: Stand, say: Callable[[str], None]) -> None:
        self._stand = stand
        self._say = say
        self._servers = stand.servers
        self._environment = stand.plan.service_environment(stand.servers, os.environ)

    def settings(self) -> Settings:
        """Return settings that lead to the stand's servers."""
        given = {name.removeprefix("MILEPOST_").lower(): value for name, value in self._environment.items()}
        return Settings.load(**{name: value for name, value in given.items() if name in Settings.model_fields})

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """Give a client of the stand's Redis."""
        redis = connect(self.settings())
        try:
            yield redis
        finally:
            await redis.aclose()

    @asynccontextmanager
    async def edge(
        self, processes: int = 1, ports: Sequence[int] = (), more: Mapping[str, str] | None = None
    ) -> AsyncIterator[Relay]:
        """A notifier that only serves clients; events are applied to Redis beside it. `more` settings are its own."""
        port, http = ports or free_ports(2)
        own = {"MILEPOST_NOTIFIER_PORT": str(port), "MILEPOST_NOTIFIER_HTTP_PORT": str(http), **(more or {})}
        argv = [sys.executable, "-m", "milepost.cli", "notifier", "--role", "edge"]
        if processes > 1:
            argv += ["--processes", str(processes)]
        ready = f"http://127.0.0.1:{http}/readyz"
        async with self._running("edge", argv, self._environment | own, ready) as pid, self.redis() as redis:
            yield Relay("milepost", self._line(port), Applied(redis), pid)

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[Relay]:
        """The stand's own notifier, ingest and edge in one process; events are written to Kafka."""
        settings = self.settings()
        writer = Writer(settings, "bench-relay")
        pid = int((self._stand.plan.home / "run" / "notifier-0.pid").read_text().split()[0])
        async with background(("kafka writer", writer.run)), self.redis() as redis:
            yield Relay("milepost", self._line(settings.notifier_port), Written(settings, writer, redis), pid)

    @asynccontextmanager
    async def fastapi(self) -> AsyncIterator[Relay]:
        """FastAPI and redis.asyncio under uvicorn, with uvloop."""
        [port] = free_ports(1)
        argv = [
            sys.executable, "-m", "uvicorn", "benchmarks.relay.fastapi_relay:app", "--host", "127.0.0.1",
            "--port", str(port), "--loop", "uvloop", "--ws", "websockets-sansio", "--ws-per-message-deflate", "false",
            "--backlog", "8192", "--log-level", "warning", "--ws-ping-interval", "25",
        ]  # fmt: skip
        ready = f"http://127.0.0.1:{port}/openapi.json"
        async with self._running("fastapi", argv, self._environment, ready) as pid, self.redis() as redis:
            yield Relay("fastapi", Line(f"127.0.0.1:{port}", "/ws/{task}", "plain"), Published(redis), pid)

    @asynccontextmanager
    async def nchan(self) -> AsyncIterator[Relay]:
        """Nchan in an nginx of its own, messages in its memory."""
        nginx, module = find_nchan()
        [port] = free_ports(1)
        home = self._stand.plan.home / "nchan"
        home.mkdir(exist_ok=True)
        text = Path(__file__).with_name("nchan.conf").read_text(encoding="utf-8")
        for word, value in {"HOME": home, "MODULE": module, "PORT": port}.items():
            text = text.replace(word, str(value))
        conf = home / "nginx.conf"
        conf.write_text(text, encoding="utf-8")
        argv = [str(nginx), "-p", str(home), "-e", str(home / "error.log"), "-c", str(conf)]
        ready = f"http://127.0.0.1:{port}/ready"
        async with AsyncExitStack() as stack:
            pid = await stack.enter_async_context(self._running("nchan", argv, None, ready))
            feed = await stack.enter_async_context(Posted.open(port))
            yield Relay("nchan", Line(f"127.0.0.1:{port}", "/ws/{task}", "plain"), feed, pid)

    def _line(self, port: int) -> Line:
        return Line(f"127.0.0.1:{port}", "/v1/stream", "milepost", self._stand.plan.key)

    @asynccontextmanager
    async def _running(
        self, name: str, argv: list[str], environment: Mapping[str, str] | None, ready: str
    ) -> AsyncIterator[int]:
        """Run a process inside the block, once it answers; give its pid."""

        async def answers(_process: ManagedProcess) -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(ready) as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        process = ManagedProcess(name, argv, environment, self._stand.plan.home, tree=True)
        service = Service(process, answers, self._say)
        try:
            await service.start()
            pid = process.pid
            assert pid is not None  # noqa: S101 - it has started
            yield pid
        finally:
            await service.stop()


def find_nchan() -> tuple[Path, Path]:
    """Return nginx and Nchan's module; NGINX_PROGRAM and NGINX_MODULES may say where. Raises MilepostError."""
    nginx = os.environ.get("NGINX_PROGRAM") or shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    folders = [Path(os.environ["NGINX_MODULES"])] if "NGINX_MODULES" in os.environ else _MODULES
    for folder in folders:
        module = folder / "ngx_nchan_module.so"
        if nginx and module.exists():
            return Path(nginx), module
    raise MilepostError(
        "Nchan is not here, so there is nothing of it to compare with. On Debian or Ubuntu: "
        "apt install nginx libnginx-mod-nchan. Elsewhere say with NGINX_PROGRAM and NGINX_MODULES where they are."
    )


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on, always the same ones if they are free."""
    found: list[Any] = [port for port in SERVER_PORTS[5::7] if is_free(port)][:count]
    return found
