"""Collects what Kafka holds: every topic under the prefix, from its beginning."""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from milepost.audit.facts import WHOLE, CompletionRecord, EventRecord, Facts, Hint, Place, Unreadable, digest_of
from milepost.errors import Unavailable
from milepost.log import Topics
from milepost.log.connection import connection
from milepost.log.reader import Consumed
from milepost.runtime.settings import Settings
from milepost_schemas import CancelRequest, Completion, Dispatch, Event
from milepost_schemas.cloudevents import TYPES, UndecodableError, header
from milepost_schemas.position import Position

_START_S = 30.0
_STALLED_S = 30.0


async def read_log(settings: Settings, facts: Facts, ignoring: Collection[Place] = ()) -> None:
    """Fill in what the topics hold up to now; `ignoring` are records that a test forged. Raises Unavailable."""
    consumer: Any = AIOKafkaConsumer(
        **connection(settings),
        client_id="milepost-audit",
        group_id=None,
        enable_auto_commit=False,
        # Not by seek_to_beginning, which races with the start of an assignment.
        auto_offset_reset="earliest",
    )
    try:
        async with asyncio.timeout(_START_S):
            await consumer.start()
        await _read_all(consumer, settings, facts, frozenset(ignoring))
    except (TimeoutError, OSError) as error:
        raise Unavailable(f"Kafka did not answer ({error!r}), so nothing was audited. Is it running?") from error
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(5):
                await consumer.stop()


async def _partitions(settings: Settings) -> list[TopicPartition]:
    """Return all partitions of all topics under the prefix."""
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    try:
        async with asyncio.timeout(_START_S):
            await admin.start()
            names = sorted(name for name in await admin.list_topics() if name.startswith(f"{settings.topic_prefix}."))
            found = await admin.describe_topics(names)
    finally:
        with contextlib.suppress(Exception):
            await admin.close()
    return [TopicPartition(topic["topic"], each["partition"]) for topic in found for each in topic["partitions"]]


async def _read_all(consumer: Any, settings: Settings, facts: Facts, ignored: frozenset[Place]) -> None:
    topics = Topics(settings.topic_prefix)
    partitions = await _partitions(settings)
    consumer.assign(partitions)
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    facts.truncated = sorted(
        f"{p.topic}/{p.partition}"
        for p, begin in begins.items()
        if begin > 0 and p.topic in {topics.events, topics.completions}
    )
    left = {partition for partition in partitions if ends[partition] > begins[partition]}
    loop = asyncio.get_running_loop()
    read_at = loop.time()
    while left:
        found = await consumer.getmany(*left, timeout_ms=500, max_records=5000)
        for records in found.values():
            for record in records:
                place = Place(record.topic, record.partition, record.offset)
                if place not in ignored and _origin(record) not in ignored:
                    take(facts, topics, place, record)
        if found:
            read_at = loop.time()
        elif loop.time() - read_at > _STALLED_S:
            raise Unavailable(f"Kafka gave no records for {_STALLED_S:g} s though {len(left)} partitions have some.")
        left = {partition for partition in left if await consumer.position(partition) < ends[partition]}


def take(facts: Facts, topics: Topics, place: Place, record: Consumed) -> None:
    """Add one record to the facts."""
    try:
        if place.topic == topics.events:
            task, event = _event(place, record)
            facts.events.setdefault(task, []).append(event)
        elif place.topic == topics.completions:
            task, completion = _completion(place, record)
            facts.completions.setdefault(task, []).append(completion)
        elif place.topic == topics.control:
            body = _body(record, TYPES[CancelRequest])
            facts.cancels.setdefault(UUID(body["task"]), []).append(place)
        elif place.topic == topics.dead_letters:
            why = f"from {_origin(record)}: {header(record.headers, 'x-error')}"
            facts.dead_letters.append(Unreadable(place, why))
        elif place.topic.startswith(topics.work("")):
            body = _body(record, TYPES[Dispatch])
            facts.hints.setdefault(UUID(body["task"]), []).append(Hint(place, body["tenant"], body["epoch"]))
    except (UndecodableError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        facts.unreadable.append(Unreadable(place, f"{type(error).__name__}: {error}"))


def _origin(record: Consumed) -> Place | None:
    """Return where a dead letter was found first; None of any other record."""
    parts = [header(record.headers, f"x-origin-{part}") for part in ("topic", "partition", "offset")]
    topic, partition, offset = parts
    if topic is None or partition is None or offset is None:
        return None
    return Place(topic, int(partition), int(offset))


def _body(record: Consumed, type_: str) -> dict[str, Any]:
    # Not by the models: an audit reads a million records, and only these members.
    found = header(record.headers, "ce_type")
    if found != type_:
        raise UndecodableError(f"ce_type is {found!r}, not {type_!r}")
    if header(record.headers, "ce_subject") is None:
        raise UndecodableError("it has no ce_subject")
    body: dict[str, Any] = orjson.loads(record.value or b"")
    if body["task"] != header(record.headers, "ce_subject"):
        raise UndecodableError(f"its subject is {header(record.headers, 'ce_subject')}, its task {body['task']}")
    return body


def _event(place: Place, record: Consumed) -> tuple[UUID, EventRecord]:
    body = _body(record, TYPES[Event])
    task, at, data = UUID(body["task"]), Position(*body["at"]), body["data"]
    identity = header(record.headers, "ce_id")
    if identity != f"{task}:{at.epoch}:{at.seq}":
        raise UndecodableError(f"its ce_id is {identity}, its position {at.epoch}/{at.seq}")
    return task, EventRecord(
        place=place,
        tenant=body["tenant"],
        at=at,
        merged=body.get("merged", 0),
        kind=body["kind"],
        source=header(record.headers, "ce_source") or "",
        whole=data.keys() >= WHOLE,
        state=data.get("state"),
        result=digest_of(data),
    )


def _completion(place: Place, record: Consumed) -> tuple[UUID, CompletionRecord]:
    body = _body(record, TYPES[Completion])
    return UUID(body["task"]), CompletionRecord(
        place=place,
        id=header(record.headers, "ce_id") or "",
        tenant=body["tenant"],
        epoch=body["epoch"],
        attempt=body["attempt"],
        state=body["state"],
        result=digest_of(body),
    )
