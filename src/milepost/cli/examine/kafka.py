"""Looks at Kafka: its topics, and whether the groups that read them get on."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from milepost.cli.examine import judge
from milepost.cli.examine.finding import Finding
from milepost.cli.examine.judge import Group, Place
from milepost.cli.examine.postgres import busy_workers
from milepost.errors import MilepostError
from milepost.log import Topics
from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.runtime.settings import Settings

BETWEEN_S = 2.0
"""Between two looks at offsets: readers commit every half second while anything comes."""


async def examine_kafka(settings: Settings, advice: str) -> list[Finding]:
    """Look at topics and groups; `advice` is for a broker that does not answer."""
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    consumer: Any = AIOKafkaConsumer(**connection(settings), group_id=None, enable_auto_commit=False)
    try:
        await admin.start()
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        names = Topics(settings.topic_prefix)
        wrong = judge.topics(_wanted(settings, names), found)
        if wrong:
            findings = [Finding("kafka", ok=False, detail=f"answers; {what}", advice=do) for what, do in wrong]
        else:
            work = [name for name in found if name.startswith(f"{names.prefix}.work.")]
            detail = f"answers at {settings.kafka_bootstrap}; {len(work)} work topics"
            findings = [Finding("kafka", ok=True, detail=detail)]
        await consumer.start()
        return findings + await _groups(settings, admin, consumer, found)
    except (KafkaError, OSError) as error:
        detail = f"{settings.kafka_bootstrap} does not answer: {error!r}"
        return [Finding("kafka", ok=False, detail=detail, advice=advice)]
    finally:
        await end(consumer)
        await end(admin)


def _wanted(settings: Settings, names: Topics) -> dict[str, int]:
    many = settings.kafka_partitions
    wanted = {names.events: many, names.completions: many, names.dead_letters: 1, names.control: 1}
    return wanted | {topic: many for queue in settings.queues for topic in names.lanes(queue)}


async def _groups(settings: Settings, admin: Any, consumer: Any, found: dict[str, int]) -> list[Finding]:
    prefix = settings.topic_prefix
    events = [topic for topic in found if topic == f"{prefix}.events"]
    work = [topic for topic in found if topic.startswith(f"{prefix}.work.")]
    groups = {f"{prefix}-notifier-ingest": events, f"{prefix}-workers": work}
    before = {name: await _lag(admin, consumer, name, topics, found) for name, topics in groups.items()}
    if any(sum(lag.values()) for lag, _ in before.values()):
        await asyncio.sleep(BETWEEN_S)
    findings = []
    for (name, topics), what in zip(groups.items(), ("events (a notifier)", "hints (a worker)"), strict=True):
        lag, committed = await _lag(admin, consumer, name, topics, found)
        moved = frozenset(place for place, offset in committed.items() if before[name][1].get(place) != offset)
        group = Group(await _members(admin, name), before[name][0], lag, moved)
        busy = name.endswith("-workers") and sum(lag.values()) > 0 and await _busy(settings)
        findings.append(judge.group("ingest" if topics is events else "hints", what, group, busy=busy))
    return findings


async def _busy(settings: Settings) -> bool:
    try:
        return await busy_workers(settings)
    except (MilepostError, OSError):
        return False


async def _lag(
    admin: Any, consumer: Any, group: str, topics: list[str], found: dict[str, int]
) -> tuple[dict[Place, int], dict[Place, int]]:
    """Return what waits for a group in each partition it has ever read, and where it stands."""
    places = [TopicPartition(topic, number) for topic in topics for number in range(found[topic])]
    if not places:
        return {}, {}
    told = await admin.list_consumer_group_offsets(group, partitions=places)
    committed = {place: told[place].offset for place in places if place in told and told[place].offset >= 0}
    if not committed:
        return {}, {}
    ends = await consumer.end_offsets(list(committed))
    lag = {(p.topic, p.partition): max(0, ends[p] - offset) for p, offset in committed.items()}
    return lag, {(p.topic, p.partition): offset for p, offset in committed.items()}


async def _members(admin: Any, group: str) -> int:
    [answer] = await admin.describe_consumer_groups([group])
    return sum(len(described["members"]) for described in answer.to_object()["groups"])
