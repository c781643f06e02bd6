"""The whole stack of one home: Kafka, Postgres and Redis, started side by side and ended together."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from milepost.embedded import pidfiles
from milepost.embedded.errors import EmbeddedError, NoSpace, StackRunning
from milepost.embedded.kafka import KafkaCluster, KafkaServer
from milepost.embedded.ports import Ports, allocate
from milepost.embedded.postgres import PostgresServer
from milepost.embedded.redis import RedisServer
from milepost.embedded.server import Server
from milepost.embedded.together import start_together

ROOM = 512 * 1024 * 1024
# How long the servers of a process that was killed may take to end by themselves.
TAKEOVER_PATIENCE = 40.0


class Stack:
    """Real servers for development and tests, under `home`; use as an async context manager.

    `brokers` is 1, or 3 for a quorum that survives the death of one. `on_progress` gets one line at a time;
    None keeps quiet. `ports` names ports; without a name, the port of the last run is used again if it is
    free, else another. One loop owns a stack from start to stop.
    """

    def __init__(
        self,
        home: Path,
        *,
        brokers: int = 1,
        ports: Ports | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        if brokers not in {1, 3}:
            raise EmbeddedError(f"brokers is {brokers}; a quorum has 1 or 3.")
        self.home = home.expanduser().absolute()
        self.brokers = brokers
        self.ports = ports or Ports()
        self._on_progress = on_progress
        self._lock: int | None = None
        self._kafka: list[KafkaServer] = []
        self._postgres: PostgresServer | None = None
        self._redis: RedisServer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def kafka(self) -> list[KafkaServer]:
        """The brokers, by number."""
        if not self._kafka:
            raise _not_started()
        return self._kafka

    @property
    def postgres(self) -> PostgresServer:
        """Postgres."""
        if self._postgres is None:
            raise _not_started()
        return self._postgres

    @property
    def redis(self) -> RedisServer:
        """Redis."""
        if self._redis is None:
            raise _not_started()
        return self._redis

    @property
    def database_url(self) -> str:
        """Address of the database, with role and password."""
        return self.postgres.url

    @property
    def kafka_bootstrap(self) -> str:
        """Addresses of all brokers, comma between."""
        return ",".join(broker.address for broker in self.kafka)

    @property
    def redis_url(self) -> str:
        """Address of Redis, with password."""
        return self.redis.url

    def environment(self) -> dict[str, str]:
        """Return the MILEPOST_* variables that let services find this stack."""
        return {
            "MILEPOST_DATABASE_URL": self.database_url,
            "MILEPOST_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "MILEPOST_REDIS_URL": self.redis_url,
        }

    async def start(self) -> None:
        """Start all servers and wait until each answers in its own protocol.

        Raises StackRunning if the home is in use, PortInUse, NoSpace, DownloadFailed, Unsupported or
        ServerFailed; what was started is stopped again then.
        """
        if self._lock is not None:
            raise StackRunning(self.home, self._pids())
        self._make_home()
        self._lock = self._take_lock()
        try:
            await self._await_predecessor()
            self._make_servers()
            await self._start_servers()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all servers gracefully, side by side; does nothing when none runs."""
        others = [server.stop() for server in (self._postgres, self._redis) if server is not None]
        outcomes = await asyncio.gather(self._stop_brokers(), *others, return_exceptions=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _make_home(self) -> None:
        try:
            for directory in (self.home, self.home / "log", self.home / "run"):
                directory.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.home).free
        except OSError as error:
            raise EmbeddedError(
                f"{self.home} cannot be used: {error}. Set MILEPOST_HOME to a directory you may write to."
            ) from error
        if free < ROOM:
            raise NoSpace(self.home, free, ROOM)

    def _take_lock(self) -> int:
        """Lock the home for as long as this process lives; the kernel lets go when it dies."""
        lock = os.open(self.home / "run" / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StackRunning(self.home, self._pids()) from error
        return lock

    def _pids(self) -> dict[str, int]:
        return pidfiles.sweep(self.home / "run", _is_ours)

    async def _await_predecessor(self) -> None:
        """Clean up stale pid files; let servers whose parent was killed end, as their guards see to."""
        deadline = time.monotonic() + TAKEOVER_PATIENCE
        pids = self._pids()
        if pids:
            self._say(f"waiting for the last run's {', '.join(pids)} to end")
        while pids:
            if time.monotonic() > deadline:
                raise StackRunning(self.home, pids)
            await asyncio.sleep(0.05)
            pids = self._pids()

    def _make_servers(self) -> None:
        names = [f"kafka-{index}" for index in range(self.brokers)]
        controllers = [f"{name}-controller" for name in names]
        ports = allocate(
            [*names, *controllers, "postgres", "redis"],
            self.ports.named(self.brokers),
            self.home / "run" / "ports.json",
        )
        cluster = KafkaCluster(self.home, [ports[name] for name in controllers], self._say)
        advertised = self.ports.kafka_advertised
        self._kafka = [
            KafkaServer(self.home, ports[name], index, cluster, None if advertised is None else advertised + index)
            for index, name in enumerate(names)
        ]
        self._postgres = PostgresServer(self.home, ports["postgres"])
        self._redis = RedisServer(self.home, ports["redis"])

    async def _start_servers(self) -> None:
        """Start all at once; the first failure ends the others' start and is raised."""
        await start_together(self._start_one(server) for server in self._servers())

    async def _start_one(self, server: Server) -> None:
        begun = time.monotonic()
        await server.start()
        self._say(f"{server.name} ready on 127.0.0.1:{server.port} after {time.monotonic() - begun:.1f} s")

    async def _stop_brokers(self) -> None:
        """End the brokers one by one, the last of several by SIGKILL.

        Alone it has no quorum left to say goodbye to, and would wait for one until its grace time is over.
        """
        running = [broker for broker in self._kafka if broker.running]
        for broker in running[:-1]:
            await broker.stop()
        for last in running[-1:]:
            if self.brokers > 1:
                last.kill()
            await last.stop()

    def _servers(self) -> list[Server]:
        servers: list[Server] = [*self._kafka]
        servers += [server for server in (self._postgres, self._redis) if server is not None]
        return servers

    def _say(self, line: str) -> None:
        if self._on_progress is not None:
            self._on_progress(line)


def _is_ours(name: str) -> bool:
    return name in {"postgres", "redis"} or name.startswith("kafka-")


def _not_started() -> EmbeddedError:
    return EmbeddedError("the stack was never started. Await start(), or use it as an async context manager.")
