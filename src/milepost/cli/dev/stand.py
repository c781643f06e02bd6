"""The whole stand: servers and services, started in order and ended in order."""

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from milepost.cli.dev.narrator import Narrator
from milepost.cli.dev.plan import METRICS_FILE, Plan, write_environment, write_scraped
from milepost.cli.dev.reload import on_change, places_of
from milepost.cli.dev.service import Service, ending
from milepost.client.address import ENVIRONMENT_FILE
from milepost.embedded import EmbeddedError, ManagedProcess, Stack, StackRunning
from milepost.embedded.pidfiles import sweep
from milepost.embedded.ports import LOOPBACK
from milepost.embedded.server import Server
from milepost.embedded.together import start_together
from milepost.runtime.settings import Settings

_PREDECESSOR_S: Final = 20.0
_GRACE_S: Final = 4.0
"""Beyond the drain: then a service is killed."""


class Stand:
    """Kafka, Postgres, Redis, the api, notifiers and workers of one home; use as an async context manager."""

    def __init__(self, plan: Plan, narrator: Narrator) -> None:
        self.plan = plan
        self.served = False
        """Whether somebody had the use of it: then Ctrl-C is its proper end."""
        self.servers: dict[str, str] = {}
        """Addresses of Kafka, Postgres and Redis, as variables."""
        self._narrator = narrator
        self._say = narrator.say
        self._stack = Stack(plan.home, on_progress=narrator.say)
        self._services: list[Service] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def workers(self) -> list[Service]:
        """The worker processes."""
        return [service for service in self._services if service.name.startswith("worker-")]

    def kill(self) -> None:
        """End everything this moment; `stop` then finds nothing left to wait for."""
        self._stopping = True
        for service in self._services:
            service.kill()
        for server in self._servers():
            with contextlib.suppress(EmbeddedError):
                server.kill()

    async def stop(self) -> None:
        """End services, then servers, and say so; does nothing when nothing runs."""
        self._stopping = True
        (self.plan.home / ENVIRONMENT_FILE).unlink(missing_ok=True)
        (self.plan.home / METRICS_FILE).unlink(missing_ok=True)
        began = time.monotonic()
        if self._services:
            self._say(f"stopping {', '.join(service.name for service in self._services)}")
            await asyncio.gather(*(service.stop() for service in self._services), return_exceptions=True)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        if any(server.running for server in self._servers()):
            self._say("stopping Kafka, Postgres and Redis")
            with contextlib.suppress(EmbeddedError):
                await self._stack.stop()
            self._say(
                f"everything has stopped after {time.monotonic() - began:.1f} s; the data stays in {self.plan.home}"
            )
        self._services, self._keepers = [], []

    async def _start(self) -> None:
        plan = self.plan
        (plan.home / ENVIRONMENT_FILE).unlink(missing_ok=True)
        with self._narrator.step("Starting Kafka, Postgres and Redis", "Kafka, Postgres and Redis are ready"):
            await self._stack.start()
        self.servers = servers = self._stack.environment()
        with self._narrator.step(
            "Bringing the database and topics up to date", "The database and topics are up to date"
        ):
            await self._migrate(servers)
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        self._make_services(plan.service_environment(servers, os.environ))
        names = ", ".join(service.name for service in self._services)
        with self._narrator.step(f"Starting {names}", f"{names} are ready"):
            await self._start_services()
        write_scraped(plan.home, plan.scraped)
        write_environment(plan.home, plan.environment(servers))
        self._keep(*(service.keep() for service in self._services))
        self._keep(*(self._keep_server(server) for server in self._servers()))

    async def _migrate(self, servers: dict[str, str]) -> None:
        from milepost.log import ensure_topics
        from milepost.store import migrate

        variables = self.plan.service_environment(servers, {})
        overrides = {name.removeprefix("MILEPOST_").lower(): value for name, value in variables.items()}
        settings = Settings.load(**{name: overrides[name] for name in overrides if name in Settings.model_fields})
        for name in await migrate(settings):
            self._say(f"applied migration {name}")
        await ensure_topics(settings, ["default"])

    # -- services

    def _make_services(self, environment: dict[str, str]) -> None:
        plan = self.plan
        shown = {"MILEPOST_METRICS_PORT": str(plan.metrics.api)}
        self._service("api", "api", environment | shown, partial(self._serves, f"{plan.url}/v1/readyz"))
        for index, ports in enumerate(plan.notifiers):
            own = {"MILEPOST_NOTIFIER_PORT": str(ports.stream), "MILEPOST_NOTIFIER_HTTP_PORT": str(ports.http)}
            probe = partial(self._serves, f"http://{LOOPBACK}:{ports.http}/readyz")
            self._service(f"notifier-{index}", "notifier", environment | own, probe)
        for index, port in enumerate(plan.metrics.workers):
            shown = {"MILEPOST_WORKER_HTTP_PORT": str(port)}
            self._service(f"worker-{index}", "worker", environment | shown, self._works)

    def _service(
        self,
        name: str,
        command: str,
        environment: dict[str, str],
        probe: Callable[[ManagedProcess], Coroutine[Any, Any, bool]],
    ) -> None:
        argv = [sys.executable, "-m", "milepost.cli", command]
        process = ManagedProcess(name, argv, environment, self.plan.home, grace=self.plan.drain + _GRACE_S)
        self._services.append(Service(process, probe, self._say))

    async def _start_services(self) -> None:
        """Start all at once; the first that fails ends the start of the others."""
        began = time.monotonic()

        async def start(service: Service) -> None:
            await service.start()
            self._say(f"{service.name} ready after {time.monotonic() - began:.1f} s, as pid {service.process.pid}")

        await start_together(start(service) for service in self._services)

    async def _serves(self, url: str, _process: ManagedProcess) -> bool:
        return await self._ask(url) is not None

    async def _works(self, process: ManagedProcess) -> bool:
        """Whether the api lists this very process among the live workers."""
        answer = await self._ask(f"{self.plan.url}/v1/workers")
        return answer is not None and any(row.get("pid") == process.pid for row in answer.get("items", []))

    async def _ask(self, url: str) -> dict[str, Any] | None:
        if self._http is None:
            return None
        try:
            async with self._http.get(url, headers={"Authorization": f"Bearer {self.plan.key}"}) as response:
                body = orjson.loads(await response.read())
                return body if response.status == 200 and isinstance(body, dict) else None
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError):
            return None

    # -- while it runs

    def reload_on_change(self, folder: Path) -> list[Path]:
        """Replace the workers whenever the code of their tasks changes; return what is watched."""
        places = places_of(self.plan.tasks, folder)
        if places:
            self._keep(on_change(places, self._reload))
        return places

    def _reload(self, files: list[str]) -> None:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        self._say(f"{os.path.relpath(files[0])}{more} changed: the workers start anew")
        self._keep(*(worker.reload() for worker in self.workers))

    def _keep(self, *bodies: Coroutine[Any, Any, None]) -> None:
        self._keepers = [keeper for keeper in self._keepers if not keeper.done()]
        self._keepers += [asyncio.create_task(body) for body in bodies]

    async def _keep_server(self, server: Server) -> None:
        failures = 0
        while True:
            status = await server.process.wait()
            if self._stopping:
                return
            failures += 1
            wait = min(10.0, 0.25 * 2.0**failures)
            self._say(f"{server.name} {ending(status)}; it starts again in {wait:.1f} s")
            await asyncio.sleep(wait)
            began = time.monotonic()
            try:
                await server.start()
                failures = 0
                self._say(f"{server.name} is back after {time.monotonic() - began:.1f} s")
            except EmbeddedError as error:
                self._say(str(error))

    def _servers(self) -> list[Server]:
        try:
            return [*self._stack.kafka, self._stack.postgres, self._stack.redis]
        except EmbeddedError:
            return []


def refuse_second(home: Path) -> None:
    """Raise StackRunning if a process runs the stack of this home; it holds the lock while it lives."""
    try:
        lock = os.open(home / "run" / "stack.lock", os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StackRunning(home, sweep(home / "run", lambda _: True)) from None
    finally:
        os.close(lock)


async def await_predecessor(home: Path, say: Callable[[str], None]) -> None:
    """Let the processes of a run that was killed end by themselves: their guards see to it."""
    deadline = time.monotonic() + _PREDECESSOR_S
    said = False
    while pids := sweep(home / "run", lambda _: True):
        if time.monotonic() > deadline:
            raise StackRunning(home, pids)
        if not said:
            say(f"waiting for the last run's {', '.join(pids)} to end")
            said = True
        await asyncio.sleep(0.1)
