"""How events get into a relay: four ways to publish the same things."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import orjson
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from milepost.announce import Announcer
from milepost.errors import Unavailable
from milepost.live import Snapshots
from milepost.log import Topics, Writer
from milepost.runtime.settings import Settings
from milepost_schemas import Event, EventKind, Position

TICK_S = 0.01
EPOCH = 1
TENANT = "default"


class Subject:
    """A task that is told of, and how far."""

    __slots__ = ("id", "seq")

    def __init__(self) -> None:
        self.id = UUID(str(uuid7()))
        self.seq = 0


def progress(subject: Subject) -> Event:
    """Return the next progress of a task; its message is the moment it was made at."""
    subject.seq += 1
    told = {
        "done": subject.seq, "total": 100_000, "unit": "files", "message": f"@{time.monotonic_ns()}",
        "rate": 12.5, "eta": 3.5,
    }  # fmt: skip
    return _event(subject, EventKind.PROGRESS, {"progress": told})


def whole(subject: Subject, kind: EventKind, state: str) -> Event:
    """Return the next event of a task that holds it whole."""
    subject.seq += 1
    now = datetime.now(UTC)
    task = {
        "id": subject.id, "type": "bench.pulse", "queue": "default", "priority": "normal", "state": state, "attempt": 1,
        "max_attempts": 3, "epoch": EPOCH, "labels": {}, "key": None, "parent_id": None, "root_id": subject.id,
        "progress": None, "result": None, "error": None, "created_at": now, "due_at": None, "started_at": now,
        "finished_at": now if state == "succeeded" else None, "trace_id": None,
    }  # fmt: skip
    return _event(subject, kind, task)


def _event(subject: Subject, kind: EventKind, data: dict[str, Any]) -> Event:
    return Event.model_construct(
        task=subject.id, tenant=TENANT, root=subject.id, at=Position(EPOCH, subject.seq), merged=0, kind=kind,
        time=datetime.now(UTC), data=data, traceparent=None,
    )  # fmt: skip


class Feed(Protocol):
    """One way into a relay."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Hand in events, in order."""


class Applied:
    """What the ingest does with events once it has read them: the edge alone is measured."""

    def __init__(self, redis: Redis) -> None:
        self._snapshots = Snapshots(redis)

    async def publish(self, events: Sequence[Event]) -> None:
        """Apply them to the snapshots, which tells the channels; again if Redis is too busy, as the ingest does."""
        while True:
            try:
                await self._snapshots.apply(events)
                return
            except Unavailable:
                await asyncio.sleep(TICK_S)


class Written:
    """Through Kafka and the ingest: the whole relay is measured."""

    def __init__(self, settings: Settings, writer: Writer, redis: Redis) -> None:
        self._snapshots = Snapshots(redis)
        self._announcer = Announcer(writer, Topics(settings.topic_prefix), "bench", lambda _held: None)

    async def publish(self, events: Sequence[Event]) -> None:
        """Write them to Kafka; what the writer refuses (it is not connected yet, it is full) is handed in again."""
        for event in events:
            said = (event.task, event.tenant, event.root, event.at, event.kind, event.data, None)
            while not self._announcer.event(*said):  # noqa: ASYNC110 - no event says when there is room
                await asyncio.sleep(TICK_S)

    async def arrived(self, subjects: Sequence[Subject]) -> None:
        """Return when the relay knows the tasks."""
        while None in await self._snapshots.positions([(TENANT, subject.id) for subject in subjects]):  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(TICK_S)


def message_of(event: Event) -> bytes:
    """Return the event as relays without a protocol pass it on."""
    return orjson.dumps(
        {"task": event.task, "at": list(event.at), "prev": None, "kind": event.kind, "data": event.data},
        option=orjson.OPT_UTC_Z,
    )


class Published:
    """For the relay in FastAPI: kept under the task's name and published on it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish(self, events: Sequence[Event]) -> None:
        """Keep and publish them in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for event in events:
            text = message_of(event)
            pipe.set(f"task:{event.task}", text, ex=3600)
            pipe.publish(f"task:{event.task}", text)
        await pipe.execute()


class Posted:
    """For Nchan: HTTP POST, many on their way at once over one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator["Posted"]:
        """Connect inside the block."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def discard() -> None:
            while await reader.read(1 << 18):
                pass

        reading = asyncio.create_task(discard())
        try:
            yield cls(writer)
        finally:
            reading.cancel()
            writer.close()

    async def publish(self, events: Sequence[Event]) -> None:
        """Post them."""
        for event in events:
            text = message_of(event)
            self._writer.write(
                b"POST /pub/%b HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b"
                % (str(event.task).encode(), len(text), text)
            )
        await self._writer.drain()


async def in_batches(feed: Feed, events: Iterable[Event], size: int = 500) -> None:
    """Publish many events as fast as they go."""
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == size:
            await feed.publish(batch)
            batch = []
    await feed.publish(batch)


async def steadily(feed: Feed, subjects: Sequence[Subject], rate: float, seconds: float) -> int:
    """Publish progress of the tasks in turns, `rate` events a second; return how many."""
    loop = asyncio.get_running_loop()
    began, sent, turn = loop.time(), 0, 0
    while (elapsed := loop.time() - began) < seconds:
        due = int(elapsed * rate) - sent
        if due > 0:
            await feed.publish([progress(subjects[(turn + n) % len(subjects)]) for n in range(due)])
            turn, sent = (turn + due) % len(subjects), sent + due
        await asyncio.sleep(max(0.0, (int((loop.time() - began) / TICK_S) + 1) * TICK_S - (loop.time() - began)))
    return sent
