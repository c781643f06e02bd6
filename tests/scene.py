"""A system behind proxies, under load, with an audit at the end: what fault tests and the soak have in common."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import aiohttp
import asyncpg
from pydantic import SecretStr

from milepost.audit import Facts, Record, Verdict, audit
from milepost.audit.facts import Place
from milepost.audit.read_store import install_journal
from milepost.embedded import ManagedProcess, Stack
from milepost.log import ensure_topics
from milepost.runtime.settings import Settings
from milepost.store import migrate
from tests.conftest import eventually
from tests.diary import VARIABLE
from tests.proxy import Proxy, proxy_to
from tests.server_sent import Reader
from tests.system import System, running
from tests.traffic import Job, Mix, Submitter, Watcher, spread

QUEUES = ["default", "slow", "analysis"]
CLIENTS_WAIT_S = 75.0
"""The notifier compares what it told with Postgres every 30 s."""


def _unplugged() -> Proxy:
    return Proxy("127.0.0.1", 0)


@dataclass(slots=True)
class Wires:
    """A proxy in front of each server. Kafka itself advertises its proxy, so everybody is behind that one."""

    postgres: Proxy = field(default_factory=_unplugged)
    kafka: Proxy = field(default_factory=_unplugged)
    redis: Proxy = field(default_factory=_unplugged)

    def all(self) -> tuple[Proxy, ...]:
        """Every one of them."""
        return self.postgres, self.kafka, self.redis

    def connect(self, stack: Stack) -> None:
        """Point them at the servers of a stack."""
        servers = (stack.postgres, stack.kafka[0], stack.redis)
        for proxy, server in zip(self.all(), servers, strict=True):
            proxy.target = ("127.0.0.1", server.port)


@asynccontextmanager
async def wired() -> AsyncIterator[Wires]:
    """Run the three proxies; `connect` them once their servers are there."""
    wires = Wires()
    try:
        for proxy in wires.all():
            await proxy.listen()
        yield wires
    finally:
        for proxy in wires.all():
            await proxy.stop()


class Held(NamedTuple):
    """A task that somebody runs."""

    task: UUID
    epoch: int


class Scene:
    """Processes to break, a load on them, and the record of what clients were told."""

    def __init__(self, direct: Settings, system: System, stack: Stack, wires: Wires, lines: list[Proxy]) -> None:
        self.direct = direct
        """Settings that lead past the proxies of Postgres and Redis."""
        self.system = system
        self.stack = stack
        self.wires = wires
        self.lines = lines
        """A proxy between each worker and Postgres."""
        self.record = Record()
        self.forged: set[Place] = set()
        self.watchers: list[Watcher | Reader] = []
        self.submitter: Submitter
        self._loads: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    async def open(self, session: aiohttp.ClientSession, watchers: int, readers: int) -> None:
        """Connect the clients: those with a WebSocket, and those that read server-sent events."""
        system = self.system
        self.submitter = Submitter(session, system.url, system.key, self.record)
        for number in range(watchers):
            turn = number % max(1, len(system.streams))
            streams = system.streams[turn:] + system.streams[:turn]
            self.watchers.append(Watcher(session, streams, system.key, self.record, f"client {number}"))
        for number in range(readers):
            turn = number % max(1, len(system.notifier_urls))
            urls = system.notifier_urls[turn:] + system.notifier_urls[:turn]
            self.watchers.append(Reader(session, urls, system.key, self.record, f"reader {number}"))
        self._watching += [asyncio.create_task(watcher.run()) for watcher in self.watchers]

    async def close(self) -> None:
        """Stop load and clients."""
        for task in (*self._loads, *self._watching):
            task.cancel()
        await asyncio.gather(*self._loads, *self._watching, return_exceptions=True)
        await self.submitter.close()

    # -- load

    def load(self, rate: float, mix: Mix, *, batch: int = 10, seed: int = 1) -> None:
        """Submit so many tasks a second from now on, until `rest`."""
        chance = random.Random(seed)
        pacing = self.submitter.pace(rate, batch, mix, chance, spread(self.watchers))
        self._loads.append(asyncio.create_task(pacing))

    async def rest(self, within_s: float = 60.0) -> None:
        """Submit nothing more, and wait until what was on its way is answered."""
        for task in self._loads:
            task.cancel()
        for outcome in await asyncio.gather(*self._loads, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        self._loads.clear()
        await self.submitter.finish(within_s)

    async def accepts(self, more: int) -> None:
        """Wait until so many more tasks of the load were accepted."""
        before = len(self.record.accepted)

        async def accepted() -> bool:
            return len(self.record.accepted) >= before + more

        await eventually(accepted, "tasks to be accepted", 60)

    async def submit(self, members: Mapping[str, Any], *, watched: bool = True) -> UUID:
        """Submit one task, and watch it."""
        (task,) = await self.submitter.submit([Job(dict(members))])
        if watched:
            spread(self.watchers)(task)
        return task

    async def warm(self, tasks: int = 60) -> None:
        """Run some tasks, so that connections are made and statements prepared everywhere."""
        jobs = [Job({"type": "demo.echo", "payload": {"n": n}}) for n in range(tasks)]
        ids = await self.submitter.submit(jobs)

        async def done() -> bool:
            rows = await self.rows(
                "select 1 from milepost.tasks where id = any($1::uuid[]) and state = 'succeeded'", ids
            )
            return len(rows) == tasks

        await eventually(done, "the first tasks to succeed", 60)

    # -- what Postgres says

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        """Ask the database, past the proxies."""
        connection = await asyncpg.connect(self.direct.database_url.get_secret_value(), timeout=10)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def state(self, task: UUID) -> str:
        """Return a task's state."""
        return str((await self.rows("select state from milepost.tasks where id = $1", task))[0][0])

    async def reaches(self, task: UUID, *states: str, within_s: float = 30.0) -> None:
        """Wait until a task is in one of these states."""

        async def check() -> bool:
            return await self.state(task) in states

        await eventually(check, f"task {task} to be {' or '.join(states)}:\n{self.system.logs()}", within_s)

    async def held_by(self, worker: ManagedProcess) -> list[Held]:
        """Return what a worker runs now."""
        rows = await self.rows(
            "select t.id, t.epoch from milepost.tasks t join milepost.workers w on w.id = t.worker"
            " where t.state = 'running' and w.pid = $1",
            worker.pid,
        )
        return [Held(UUID(bytes=row[0].bytes), row[1]) for row in rows]

    async def owner(self, task: UUID) -> int:
        """Return the number of the worker that runs a task."""
        (row,) = await self.rows(
            "select w.pid from milepost.tasks t join milepost.workers w on w.id = t.worker where t.id = $1", task
        )
        return [worker.pid if worker.running else None for worker in self.system.workers].index(row[0])

    async def taken_back(self, held: list[Held], within_s: float = 40.0) -> list[float]:
        """Wait until nobody holds these tasks under these epochs; return when that was, in seconds of the day."""
        ids, epochs = [each.task for each in held], [each.epoch for each in held]

        async def lost() -> bool:
            return not await self.rows(
                "select 1 from milepost.tasks t join unnest($1::uuid[], $2::int[]) l (id, epoch) using (id, epoch)"
                " where t.state = 'running'",
                ids,
                epochs,
            )

        await eventually(lost, "tasks to be taken back", within_s)
        rows = await self.rows(
            "select extract(epoch from min(m.at))::float8 from unnest($1::uuid[], $2::int[]) l (id, epoch)"
            " join milepost_audit.moves m on m.task_id = l.id and m.epoch > l.epoch and m.source = 'running'"
            " group by l.id",
            ids,
            epochs,
        )
        return [row[0] for row in rows]

    # -- the end

    async def heal(self) -> None:
        """Let everything flow again."""
        for proxy in (*self.wires.all(), *self.lines):
            await proxy.listen()
            proxy.flow()

    async def verify(self, within_s: float = 60.0) -> tuple[Verdict, Facts]:
        """Rest, wait until everybody has seen the end of everything, and audit."""
        await self.heal()
        await self.rest()
        for watching in self._watching:
            if watching.done():
                watching.result()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s + CLIENTS_WAIT_S
        verdict, facts = await self._audit(within_s)
        if any(watcher.open for watcher in self.watchers):
            for watcher in self.watchers:
                await watcher.all_ended(max(0.0, deadline - loop.time()))
            drained_s = facts.drained_s
            verdict, facts = await self._audit(within_s)
            facts.drained_s = drained_s
        return verdict, facts

    async def _audit(self, within_s: float) -> tuple[Verdict, Facts]:
        diary = _diary(self.direct)
        return await audit(self.direct, self.record, within_s=within_s, ignoring=self.forged, diary=diary)

    @property
    def refusals(self) -> list[str]:
        """Answers that say clients were wrong, which they are not."""
        return [*self.submitter.tally.refused, *(said for watcher in self.watchers for said in watcher.refused)]

    async def passes(self, within_s: float = 60.0) -> Facts:
        """Fail with all findings if the audit has any."""
        verdict, facts = await self.verify(within_s)
        assert verdict.good, verdict.text()
        assert not self.refusals
        assert verdict.counts["accepted"] > 0
        return facts


def through(settings: Settings, postgres: Proxy, redis: Proxy) -> Settings:
    """Return the same settings with the servers' addresses replaced by those of their proxies."""
    return settings.model_copy(
        update={
            "database_url": SecretStr(_at(settings.database_url.get_secret_value(), postgres.port)),
            "redis_url": SecretStr(_at(settings.redis_url.get_secret_value(), redis.port)),
        }
    )


def _at(url: str, port: int) -> str:
    """Return a URL with another port."""
    head, _, tail = url.rpartition("@127.0.0.1:")
    return f"{head}@127.0.0.1:{port}/{tail.partition('/')[2]}"


def _diary(settings: Settings) -> Path:
    """Where handlers note when they run."""
    return settings.home / "diary"


@asynccontextmanager
async def staged(
    settings: Settings,
    stack: Stack,
    wires: Wires,
    *,
    workers: int = 2,
    notifiers: int = 1,
    watchers: int = 1,
    readers: int = 0,
    tasks: str = "milepost.demo,tests.tasks",
    env: Mapping[str, str] | None = None,
    metrics: bool = False,
) -> AsyncIterator[Scene]:
    """Run a system behind proxies and open clients of it. Everything flows again afterwards."""
    async with AsyncExitStack() as held:
        lines = [await held.enter_async_context(proxy_to(stack.postgres.port)) for _ in range(workers)]
        for proxy in wires.all():
            held.callback(proxy.flow)
            held.push_async_callback(proxy.listen)
        url = settings.database_url.get_secret_value()
        await migrate(settings)
        await ensure_topics(settings, QUEUES)
        await install_journal(url)
        system = await held.enter_async_context(
            running(
                through(settings, wires.postgres, wires.redis),
                workers=workers,
                notifiers=notifiers,
                tasks=tasks,
                env={VARIABLE: str(_diary(settings)), **(env or {})},
                worker_env=lambda n: {"MILEPOST_DATABASE_URL": _at(url, lines[n].port)},
                metrics=metrics,
            )
        )
        # The api may answer thousands of batches over few connections; watchers keep theirs.
        connector = aiohttp.TCPConnector(limit=0)
        session = await held.enter_async_context(aiohttp.ClientSession(connector=connector))
        scene = Scene(settings, system, stack, wires, lines)
        await scene.open(session, watchers, readers)
        held.push_async_callback(scene.close)
        yield scene


@asynccontextmanager
async def audited(settings: Settings, *, env: Mapping[str, str] | None = None, **options: Any) -> AsyncIterator[System]:
    """Run a system as `running` does, and audit at the end what became of everything that has ended by then."""
    await migrate(settings)
    await install_journal(settings.database_url.get_secret_value())
    env = {VARIABLE: str(_diary(settings)), **(env or {})}
    async with running(settings, env=env, **options) as system:
        yield system
        connection = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=10)
        try:
            rows = await connection.fetch("select id from milepost.tasks where finished_at is not null")
        finally:
            await connection.close()
        record = Record()
        record.answered_all(str(row[0]) for row in rows)
        verdict, _ = await audit(settings, record, within_s=30, only_ours=False, diary=_diary(settings))
        assert verdict.good, verdict.text()
