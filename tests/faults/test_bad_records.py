"""Records that are doubled, late, out of order, too large, unreadable or forged, on every topic, under load."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from milepost.audit.facts import Place
from milepost.log import Topics
from milepost.log.connection import connection
from milepost_schemas import CancelRequest, Dispatch, Event
from milepost_schemas.base import Contract
from milepost_schemas.cloudevents import Header, headers_of
from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.loads import varied
from tests.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

UNREADABLE = (
    None, b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b'{"task": 1}', b"[" * 100_000, b"x" * 900_000,
    b'{"task":"' + b"0" * 36 + b'"}',
)  # fmt: skip


@asynccontextmanager
async def _producer(scene: Scene) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(**connection(scene.direct))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _forge(scene: Scene, producer: Any, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> None:
    sent = await producer.send_and_wait(topic, value, key=key, headers=headers)
    scene.forged.add(Place(sent.topic, sent.partition, sent.offset))


def _headers(model: type[Contract], identity: str, subject: str) -> list[Header]:
    return headers_of(model, identity=identity, source="/forged", subject=subject, traceparent=None)


def _topics(scene: Scene) -> tuple[str, ...]:
    topics = Topics(scene.direct.topic_prefix)
    return (topics.events, topics.completions, topics.control, topics.dead_letters, *topics.lanes("default"))


async def test_unreadable_records_stop_nobody(stage: Stage) -> None:
    async with stage() as scene, _producer(scene) as producer:
        scene.load(20, varied)
        for topic in _topics(scene):
            for value in UNREADABLE:
                for headers in ([], _headers(Dispatch, "x", "x"), _headers(Event, "x", "x")):
                    await _forge(scene, producer, topic, b"x", value, headers)
        await _goes_on(scene)
        await scene.passes()


@pytest.mark.long
async def test_forged_records_start_end_and_stop_nothing(stage: Stage) -> None:
    """Well-formed, of tasks that do not exist, or with epochs, types and tenants that are not true."""
    async with stage() as scene, _producer(scene) as producer:
        scene.load(20, varied)
        await _goes_on(scene)
        topics = Topics(scene.direct.topic_prefix)
        known = list(scene.record.accepted)[-20:]
        for task in (*known, *(uuid4() for _ in range(5))):
            name = str(task)
            for epoch, tenant, kind in (
                (0, "default", "demo.echo"),
                (7, "default", "demo.echo"),
                (1, "other", "no.such"),
            ):
                hint = {"task": name, "tenant": tenant, "type": kind, "epoch": epoch}
                headers = _headers(Dispatch, f"{name}:{epoch}", name)
                await _forge(scene, producer, topics.work("default"), task.bytes, orjson.dumps(hint), headers)
            cancel = _headers(CancelRequest, f"{name}:cancel", name)
            other = orjson.dumps({"task": name, "tenant": "other"})
            await _forge(scene, producer, topics.control, task.bytes, other, cancel)
        await _goes_on(scene)
        facts = await scene.passes()
    cancelled = [row.id for row in facts.tasks.values() if row.state == "cancelled"]
    assert len(cancelled) <= scene.submitter.tally.cancelled


@pytest.mark.long
async def test_records_that_come_again_later_and_in_another_order_change_nothing(stage: Stage) -> None:
    async with stage() as scene, _producer(scene) as producer:
        scene.load(20, varied)
        await _goes_on(scene)
        for topic in _topics(scene):
            records = await _all(scene, topic)
            for record in (*records, *reversed(records)):
                headers, partition = list(record.headers), record.partition
                sent = await producer.send_and_wait(
                    topic, record.value, key=record.key, headers=headers, partition=partition
                )
                # Our own copies; and the order of the log is then ours, too.
                scene.forged.add(Place(sent.topic, sent.partition, sent.offset))
        await _goes_on(scene)
        facts = await scene.passes()
    assert all(row.attempt <= 2 for row in facts.tasks.values())


async def _all(scene: Scene, topic: str, most: int = 60) -> list[Any]:
    consumer: Any = AIOKafkaConsumer(**connection(scene.direct), auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(topic, n) for n in sorted(await _partitions(scene, topic))]
        consumer.assign(places)
        found = await consumer.getmany(*places, timeout_ms=2000, max_records=most)
        return [record for records in found.values() for record in records]
    finally:
        await consumer.stop()


async def _partitions(scene: Scene, topic: str) -> list[int]:
    from aiokafka.admin import AIOKafkaAdminClient

    admin: Any = AIOKafkaAdminClient(**connection(scene.direct))
    await admin.start()
    try:
        (found,) = await admin.describe_topics([topic])
        return [each["partition"] for each in found["partitions"]]
    finally:
        await admin.close()


async def _goes_on(scene: Scene, more: int = 40) -> None:
    seen: list[UUID] = list(scene.record.accepted)

    async def done() -> bool:
        new = [task for task in scene.record.accepted if task not in seen]
        if len(new) < more:
            return False
        rows = await scene.rows("select 1 from milepost.tasks where id = any($1::uuid[]) and state = 'succeeded'", new)
        return len(rows) >= more // 2

    await eventually(done, "new tasks to succeed", 60)
