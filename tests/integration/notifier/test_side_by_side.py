"""Several notifier processes on the same ports."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import aiohttp
import psutil
from redis.asyncio import Redis
from websockets.frames import CloseCode

from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost_schemas.frames import CloseCode as Told
from tests.conftest import MakeSettings, eventually
from tests.integration.notifier.acting import KEY, Living, Postgres, Watcher, watcher_of
from tests.processes import alive, gone, signal_all
from tests.scraping import scraped

CLIENTS = 24
"""So many that each of two processes gets some; that one gets none happens once in eight million times."""


@contextmanager
def _free_ports() -> Iterator[tuple[int, int, int]]:
    """Give two free ports, and one that is free with the next."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        yield one.getsockname()[1], two.getsockname()[1], _free_pair()


def _free_pair() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class Notifiers:
    """Two processes and the one that watches over them."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, http_port: int, metrics_port: int) -> None:
        self.pid = process.pid
        self.port = port
        self.http_url = f"http://127.0.0.1:{http_port}"
        self.metrics_urls = [f"http://127.0.0.1:{metrics_port + n}" for n in range(2)]
        self._process = process

    @property
    def processes(self) -> list[int]:
        """Those that serve, as they are now."""
        return [child.pid for child in psutil.Process(self.pid).children() if alive(child.pid)]

    def clients_of(self, pid: int) -> set[int]:
        """The ports of the clients that a process serves."""
        rows = psutil.Process(pid).net_connections("tcp")
        return {row.raddr.port for row in rows if row.laddr.port == self.port and row.raddr}

    async def ended(self) -> int:
        """Wait for the end; return the status."""
        async with asyncio.timeout(60):
            return await self._process.wait()

    async def ready(self, count: int) -> None:
        """Wait until so many processes more have said that they are."""
        assert self._process.stderr is not None
        async with asyncio.timeout(150):
            while count:
                line = await self._process.stderr.readline()
                assert line, "the one that watches over them ended"
                count -= b'"ready"' in line


async def _start(variables: dict[str, str]) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-m", "milepost_notifier", "--role", "edge", "--processes", "2"]
    return await asyncio.create_subprocess_exec(*argv, env=variables, stderr=asyncio.subprocess.PIPE)


@asynccontextmanager
async def _two(settings: Settings, fresh: MakeSettings) -> AsyncIterator[Notifiers]:
    database = await fresh()
    with _free_ports() as (port, http_port, metrics_port):
        variables = os.environ | {
            "MILEPOST_DATABASE_URL": database.database_url.get_secret_value(),
            "MILEPOST_REDIS_URL": settings.redis_url.get_secret_value(),
            "MILEPOST_API_KEY": KEY,
            "MILEPOST_NOTIFIER_PORT": str(port),
            "MILEPOST_NOTIFIER_HTTP_PORT": str(http_port),
            "MILEPOST_METRICS_PORT": str(metrics_port),
        }
    process = await _start(variables)
    notifiers = Notifiers(process, port, http_port, metrics_port)
    try:
        await notifiers.ready(2)
        yield notifiers
    finally:
        if process.returncode is None:
            left = notifiers.processes
            process.kill()
            await process.wait()
            signal_all(left, signal.SIGKILL)


async def _watchers(stack: AsyncExitStack, notifiers: Notifiers, task: Living) -> dict[int, Watcher]:
    """Return clients that watch a task, by the port of each."""
    found = {}
    for _ in range(CLIENTS):
        watcher = await stack.enter_async_context(watcher_of(notifiers))
        await watcher.sub(task.id)
        await watcher.at(task.at)
        found[watcher.line.local_address[1]] = watcher
    return found


async def test_when_one_of_two_is_killed_the_other_serves_until_there_are_two_again(
    settings: Settings, fresh: MakeSettings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    await redis.ping()
    task = Living(postgres)
    await snapshots.apply([task.queued()])
    async with _two(settings, fresh) as notifiers, AsyncExitStack() as stack:
        watchers = await _watchers(stack, notifiers, task)
        killed, kept = notifiers.processes
        lost, served = notifiers.clients_of(killed), notifiers.clients_of(kept)
        assert lost
        assert served
        assert lost | served == set(watchers)
        each = [(await scraped(url)).sum("milepost_relay_connections") for url in notifiers.metrics_urls]
        assert sorted(each) == sorted([len(lost), len(served)]), "each process shows its own"
        async with aiohttp.ClientSession() as session, session.get(f"{notifiers.http_url}/metrics") as answer:
            assert answer.status == 404
            assert "MILEPOST_METRICS_PORT" in await answer.text()

        os.kill(killed, signal.SIGKILL)
        for port in lost:
            assert (await watchers[port].closed())[0] == CloseCode.ABNORMAL_CLOSURE
        await snapshots.apply([task.started()])
        for port in served:
            await watchers[port].at(task.at)

        await notifiers.ready(1)
        assert kept in notifiers.processes
        assert killed not in notifiers.processes
        again = await _watchers(stack, notifiers, task)
        assert all(notifiers.clients_of(pid) & set(again) for pid in notifiers.processes)


async def test_all_are_drained_together_and_say_goodbye(
    settings: Settings, fresh: MakeSettings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    await redis.ping()
    task = Living(postgres)
    await snapshots.apply([task.queued()])
    async with _two(settings, fresh) as notifiers, AsyncExitStack() as stack:
        watchers = await _watchers(stack, notifiers, task)
        both = notifiers.processes
        os.kill(notifiers.pid, signal.SIGTERM)
        for watcher in watchers.values():
            assert (await watcher.closed())[0] == Told.DRAINING.code
        assert await notifiers.ended() == 0
        assert gone(both)


async def test_none_outlives_the_one_that_watches_over_them(settings: Settings, fresh: MakeSettings) -> None:
    async with _two(settings, fresh) as notifiers:
        both = notifiers.processes
        os.kill(notifiers.pid, signal.SIGKILL)

        async def over() -> bool:
            return gone(both)

        await eventually(over, "both to end", within_s=60.0)


async def test_a_port_that_is_taken_is_named_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _start(os.environ | {"MILEPOST_NOTIFIER_PORT": str(port)})
        _, said = await process.communicate()
    assert process.returncode == 2
    assert f"Port {port} cannot be opened".encode() in said
    assert b"MILEPOST_NOTIFIER_PORT" in said
