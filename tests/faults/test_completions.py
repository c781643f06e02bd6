"""A consumer that keeps ids does each completion exactly once: the programs of docs/completions.md, on a real Kafka."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import aiokafka
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from milepost.embedded import Stack
from milepost.embedded.processes import ManagedProcess
from milepost.log import Topics
from milepost.log.membership import expel
from milepost.runtime.settings import Settings
from milepost_schemas import Completion
from milepost_schemas.cloudevents import decode, header
from tests.conftest import MakeSettings, eventually
from tests.system import System, running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "completions"
TABLES = re.search(r"^```sql\n(.*?)^```$", (ROOT / "docs" / "completions.md").read_text(), re.MULTILINE | re.DOTALL)
BATCH = 150
BUILD_S = 600.0


class Program(NamedTuple):
    """A consumer of docs/completions.md."""

    group: str
    client_id: str
    """What its Kafka client calls itself if nobody says otherwise."""
    argv: list[str]


async def python_program(_to: Path) -> Program:
    """Return the Python consumer."""
    argv = [sys.executable, str(EXAMPLES / "python" / "consumer.py")]
    return Program("booking-python", f"aiokafka-{aiokafka.__version__}", argv)


async def go_program(to: Path) -> Program:
    """Build the Go consumer. Skips where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain on PATH: the Go consumer of docs/completions.md was not run")
    building = await asyncio.create_subprocess_exec(
        go, "build", "-mod=readonly", "-o", str(to / "consumer"), ".",
        cwd=EXAMPLES / "go", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(building.communicate(), BUILD_S)
    assert building.returncode == 0, said.decode()
    return Program("booking-go", "kgo", [str(to / "consumer")])


class Consumer:
    """One of the programs, with a database of its own, and somebody who starts it again when it ends."""

    def __init__(self, program: Program, database: str, settings: Settings) -> None:
        self.group = program.group
        self._client_id = program.client_id
        self._settings = settings
        topic = Topics(settings.topic_prefix).completions
        env = os.environ | {"DATABASE_URL": database, "KAFKA": settings.kafka_bootstrap, "TOPIC": topic}
        self._process = ManagedProcess(program.group, program.argv, env, settings.home)
        self._database = database
        self.db: Any = None
        self.kills = 0
        self.expelled = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Consumer"]:
        """Keep it running inside the block."""
        assert TABLES is not None
        self.db = await asyncpg.connect(self._database)
        await self.db.execute(TABLES[1])
        await self._process.start()
        watching = asyncio.create_task(self._watch_over())
        try:
            yield self
        except BaseException:
            print("\n".join(self._process.log_tail()))  # noqa: T201 - pytest shows it with the failure
            raise
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await self._process.stop()
            await self.db.close()

    async def _watch_over(self) -> None:
        while True:
            await self._process.wait()
            await asyncio.sleep(0.2)  # a supervisor's back-off
            # Kafka would wait for the dead one until its session ends, 10 s in Python and 45 s in Go, and only then
            # have the next read. Without Kafka (it is restarted, too) that is how it goes.
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                self.expelled += await expel(self._settings, self.group, self._client_id)
            await self._process.start()

    async def booked(self) -> int:
        """Return how many effects there are."""
        count: int = await self.db.fetchval("select count(*) from bookings")
        return count

    async def books(self, more_than: int) -> None:
        """Wait until it has done more than so much."""

        async def check() -> bool:
            return await self.booked() > more_than

        await eventually(check, f"{self.group} to book more than {more_than}", 120)

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        self._process.kill()
        self.kills += 1


@asynccontextmanager
async def copies_sent(settings: Settings) -> AsyncIterator[Counter[str]]:
    """Send copies of what is on the topic, up to three of each, some at once, some later; count all records by id."""
    topic = Topics(settings.topic_prefix).completions
    seen: Counter[str] = Counter()
    dice = Random(1)

    async def copy() -> None:
        # The broker is restarted meanwhile: a copier that breaks begins anew, which only makes more copies.
        while True:
            with contextlib.suppress(Exception):
                reader: Any = AIOKafkaConsumer(
                    topic, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest", group_id=None
                )
                writer: Any = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
                try:
                    await reader.start()
                    await writer.start()
                    seen.clear()
                    held: list[Any] = []
                    while True:
                        for records in (await reader.getmany(timeout_ms=200)).values():
                            for record in records:
                                id_ = header(record.headers, "ce_id") or ""
                                seen[id_] += 1
                                if seen[id_] < 4 and dice.random() < 0.5:
                                    held.append(record)
                        dice.shuffle(held)
                        for record in held[: len(held) // 2 + 1]:
                            await writer.send(
                                topic, record.value, record.key, record.partition, headers=list(record.headers)
                            )
                        del held[: len(held) // 2 + 1]
                finally:
                    async with asyncio.timeout(5):
                        await reader.stop()
                        await writer.stop()
            await asyncio.sleep(0.5)

    copying = asyncio.create_task(copy())
    try:
        yield seen
    finally:
        copying.cancel()
        await asyncio.wait([copying], timeout=15)


async def behind(settings: Settings, group: str) -> int:
    """Return how many records of the topic the group has not committed."""
    topic = Topics(settings.topic_prefix).completions
    looking: Any = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await looking.start()
    try:
        parts = [TopicPartition(topic, n) for n in range(settings.kafka_partitions)]
        ends = await looking.end_offsets(parts)
        done = {part: await looking.committed(part) or 0 for part in parts}
        return sum(ends[part] - done[part] for part in parts)
    finally:
        await looking.stop()


async def told_again(system: System) -> None:
    """Let the product itself send copies: as after the death of workers between the answer of Kafka and the delete."""
    db = await asyncpg.connect(system.settings.database_url.get_secret_value())
    try:
        await db.execute(
            "insert into milepost.outbox (task_id, epoch, created_at) "
            "select id, epoch, now() - interval '1 minute' from milepost.tasks where finished_at is not null "
            "on conflict do nothing"
        )
    finally:
        await db.close()


async def ended(system: System) -> dict[str, str]:
    """Return the state in which each end left its task, by the identity of the completion."""
    db = await asyncpg.connect(system.settings.database_url.get_secret_value())
    try:
        rows = await db.fetch("select id, epoch, state from milepost.tasks where finished_at is not null")
        return {f"{row['id']}:{row['epoch']}": row["state"] for row in rows}
    finally:
        await db.close()


@pytest.mark.parametrize(
    "program", [pytest.param(python_program, id="python", marks=pytest.mark.long), pytest.param(go_program, id="go")]
)
async def test_a_consumer_that_keeps_ids_does_each_completion_once_whoever_dies(
    fresh: MakeSettings, stack: Stack, tmp_path: Path, program: Any
) -> None:
    built = await program(tmp_path)
    settings = await fresh()
    database = (await fresh()).database_url.get_secret_value()
    async with (
        running(settings, workers=2, notifiers=0) as system,
        system.client() as client,
        Consumer(built, database, settings).run() as consumer,
    ):

        async def some_more(already: int) -> None:
            tasks: list[dict[str, Any]] = [{"type": "demo.echo", "payload": {"n": n}} for n in range(BATCH - 10)]
            tasks += [{"type": "demo.fail", "payload": {"times": 9}, "max_attempts": 1} for _ in range(10)]
            await client.submit_batch(tasks)

            async def over() -> bool:
                return len(await ended(system)) == already + BATCH

            await consumer.books(already + BATCH // 4)
            consumer.kill()  # in mid-stream
            await eventually(over, "the tasks to end", 120)

        async with copies_sent(settings) as seen:
            await some_more(0)
            await told_again(system)
            await some_more(BATCH)
            stack.kafka[0].kill()
            await stack.kafka[0].start()
            system.workers[0].kill()
            await some_more(2 * BATCH)
            await told_again(system)
            ends = await ended(system)

            async def all_told() -> bool:
                return set(seen) == set(ends) and await consumer.booked() >= len(ends)

            await eventually(all_told, "every end to be told and booked", 180)

        async def nothing_left() -> bool:
            return await behind(settings, consumer.group) == 0

        await eventually(nothing_left, "the consumer to have read all copies", 120)
        booked = [tuple(row) for row in await consumer.db.fetch("select id, task::text, state from bookings")]
        assert sorted(booked) == sorted((id_, id_.partition(":")[0], state) for id_, state in ends.items())
        assert consumer.kills == 3
        assert consumer.expelled > 0, "each death was waited out: is the client id right?"
        assert sum(seen.values()) > 1.3 * len(ends), f"hardly any copies: {seen.total()} of {len(ends)}"
    await check_records(settings, set(ends))


async def check_records(settings: Settings, ids: set[str]) -> None:
    """Every record on the topic is as the document says."""
    topic = Topics(settings.topic_prefix).completions
    reader: Any = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await reader.start()
    try:
        left = set(ids)
        partitions: dict[UUID, TopicPartition] = {}
        async with asyncio.timeout(60):
            while left:
                for part, records in (await reader.getmany(timeout_ms=500)).items():
                    for record in records:
                        completion = decode(Completion, record.value, record.headers)
                        assert header(record.headers, "ce_id") == completion.id
                        assert header(record.headers, "ce_subject") == str(completion.task)
                        assert record.key == completion.task.bytes
                        assert partitions.setdefault(completion.task, part) == part
                        left.discard(completion.id)
    finally:
        await reader.stop()
