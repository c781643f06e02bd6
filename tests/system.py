"""The whole system as real processes on the shared servers, for tests that look at it from outside."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from milepost.client import Client
from milepost.embedded.ports import allocate
from milepost.embedded.processes import ManagedProcess
from milepost.log import ensure_topics
from milepost.runtime.settings import Settings
from milepost.store import Store, migrate, open_pool
from tests.conftest import eventually
from tests.secrets import found_in_files, secrets_of

ROOT = Path(__file__).parents[1]
START_S = 60.0
"""Three seconds alone; half a minute has been seen beside a build on two cores."""


WorkerEnv = Callable[[int], Mapping[str, str]]
"""Variables of one worker, by its number: what a fault that hits only that one needs."""


class System:
    """One api, some workers and notifiers. Processes are named as `milepost dev` names them."""

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int,
        notifiers: int,
        tasks: str,
        env: Mapping[str, str],
        worker_env: WorkerEnv = lambda _: {},
        metrics: bool = False,
    ) -> None:
        """`metrics`: each process shows its own on a port of their own."""
        self.settings = settings
        names = ["api", *(f"{end}-{n}" for n in range(notifiers) for end in ("stream", "http"))]
        seen = (
            []
            if not metrics
            else ["api", *(f"worker-{n}" for n in range(workers)), *(f"notifier-{n}" for n in range(notifiers))]
        )
        wanted = [*names, *(f"metrics-{name}" for name in seen)]
        ports = list(allocate(wanted, {}, settings.home / "run" / "ports.json").values())
        self.metrics = dict(zip(seen, ports[len(names) :], strict=True))
        """Where each process shows its metrics to whoever asks, by its name."""
        ports = ports[: len(names)]
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.streams = [f"ws://127.0.0.1:{port}/v1/stream" for port in ports[1::2]]
        self.notifier_urls = [f"http://127.0.0.1:{port}" for port in ports[2::2]]
        assert settings.api_key is not None
        self.key = settings.api_key.get_secret_value()
        self._env = os.environ | {
            "MILEPOST_DATABASE_URL": settings.database_url.get_secret_value(),
            "MILEPOST_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "MILEPOST_REDIS_URL": settings.redis_url.get_secret_value(),
            "MILEPOST_TOPIC_PREFIX": settings.topic_prefix,
            "MILEPOST_API_KEY": self.key,
            "MILEPOST_API_PORT": str(ports[0]),
            "MILEPOST_URL": self.url,
            "MILEPOST_STREAM_URL": self.streams[0] if self.streams else "ws://127.0.0.1:9/none",
            "MILEPOST_ALLOWED_ORIGINS": self.url,
            "MILEPOST_EVENTS_URL": self.notifier_urls[0] if self.notifier_urls else "http://127.0.0.1:9",
            "MILEPOST_TASKS": tasks,
            "MILEPOST_HOME": str(settings.home),
            "MILEPOST_LOG_FORMAT": "json",
            **env,
        }
        self.api = self._process("api", "milepost_api")
        self.workers = [self._process(f"worker-{n}", "milepost_worker", **worker_env(n)) for n in range(workers)]
        self.notifiers = [
            self._process(
                f"notifier-{n}",
                "milepost_notifier",
                MILEPOST_NOTIFIER_PORT=str(ports[1 + 2 * n]),
                MILEPOST_NOTIFIER_HTTP_PORT=str(ports[2 + 2 * n]),
            )
            for n in range(notifiers)
        ]

    def _process(self, name: str, module: str, **env: str) -> ManagedProcess:
        argv = [sys.executable, "-m", module]
        if name in self.metrics:
            env = {"MILEPOST_METRICS_PORT": str(self.metrics[name]), **env}
        return ManagedProcess(name, argv, self._env | env, self.settings.home, tree=True, cwd=ROOT)

    def put_secrets_into_files(self) -> None:
        """Let processes that are started from now on read secrets from files."""
        for process in self.processes:
            assert process.env is not None
            for name in ("MILEPOST_DATABASE_URL", "MILEPOST_REDIS_URL", "MILEPOST_API_KEY"):
                path = self.settings.home / name.lower()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(process.env.pop(name) + "\n")
                process.env[f"{name}_FILE"] = str(path)

    @property
    def processes(self) -> list[ManagedProcess]:
        """All of them, in the order they stop."""
        return [self.api, *self.workers, *self.notifiers]

    async def start(self) -> None:
        """Start everything and wait until it serves."""
        for folder in ("log", "run"):
            (self.settings.home / folder).mkdir(parents=True, exist_ok=True)
        await asyncio.gather(*(process.start() for process in self.processes))
        await self.ready(self.url)
        for url in self.notifier_urls:
            await self.ready(url)
        await self.has_workers(len(self.workers))

    async def stop(self) -> None:
        """Stop everything that still runs."""
        await asyncio.gather(*(process.stop() for process in self.processes if process.running))

    async def ready(self, url: str) -> None:
        """Wait until a service says that it is."""

        async def check() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
                    body = await response.json()
                    return bool(response.status == 200 and body["status"] in {"ready", "ok"})
            except (aiohttp.ClientError, OSError):
                return False

        await eventually(check, f"{url}/readyz; logs are in {self.settings.home / 'log'}:\n{self.logs()}", START_S)

    async def has_workers(self, count: int) -> None:
        """Wait until so many workers announce themselves."""

        async def check() -> bool:
            async with self.client() as client:
                return len(await client.workers()) >= count

        await eventually(check, f"{count} workers:\n{self.logs()}", START_S)

    def client(self, stream: int = 0) -> Client:
        """Return a client; `stream` chooses the notifier for those that have one of their own."""
        return Client(self.url, self.key, stream_url=self.streams[stream] if self.streams else None)

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"--- {p.name}\n" + "\n".join(p.log_tail()) for p in self.processes)


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    workers: int = 1,
    notifiers: int = 1,
    tasks: str = "milepost.demo,tests.tasks",
    env: Mapping[str, str] | None = None,
    worker_env: WorkerEnv = lambda _: {},
    in_files: bool = False,
    metrics: bool = False,
) -> AsyncIterator[System]:
    """Run a system over fresh settings; its logs are shown if the block fails. `in_files`: there it reads secrets."""
    await migrate(settings)
    await ensure_topics(settings, ["default", "slow", "analysis"])
    system = System(
        settings,
        workers=workers,
        notifiers=notifiers,
        tasks=tasks,
        env=env or {},
        worker_env=worker_env,
        metrics=metrics,
    )
    if in_files:
        system.put_secrets_into_files()
    try:
        await system.start()
        yield system
        await system.stop()
        found = found_in_files((process.log_path for process in system.processes), secrets_of(settings))
        assert not found, "secrets are in the logs:\n" + "\n".join(found)
    except BaseException:
        print(system.logs())  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        await system.stop()
        shutil.rmtree(settings.home, ignore_errors=True)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """Look into the database."""
    pool = await open_pool(settings, "test")
    try:
        yield Store(pool)
    finally:
        await pool.close()
