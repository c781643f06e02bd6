"""Deploys of notifiers, and a topic that says things again: who watches is told nothing wrong, and the end."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from milepost.audit import Watch
from milepost.audit.facts import Place
from milepost.live import connect
from milepost.log import Topics
from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.runtime.settings import Settings
from milepost_schemas.position import Position
from tests.conftest import eventually
from tests.faults.conftest import Stage
from tests.faults.loads import short
from tests.scene import Scene
from tests.traffic import Watcher

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(400)]


async def _reads(url: str) -> bool:
    """Whether a notifier is in the group that reads events."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
            return bool((await response.json())["dependencies"]["kafka"]["ok"])
    except (aiohttp.ClientError, OSError):
        return False


async def _all_read(scene: Scene) -> None:
    async def check() -> bool:
        return all([await _reads(url) for url in scene.system.notifier_urls])

    await eventually(check, "every notifier to read events", 40)


@pytest.mark.parametrize(("rounds", "clients"), [(1, 6), pytest.param(4, 60, marks=pytest.mark.long)])
async def test_a_rolling_restart_of_all_notifiers_sends_clients_on_and_costs_them_nothing(
    stage: Stage, rounds: int, clients: int
) -> None:
    async with stage(watchers=clients, notifiers=3) as scene:
        scene.load(20, short)
        await scene.accepts(40)
        for _ in range(rounds):
            for notifier, url in zip(scene.system.notifiers, scene.system.notifier_urls, strict=True):
                await notifier.stop()
                assert notifier.returncode == 0
                await scene.accepts(10)
                await notifier.start()
                await scene.system.ready(url)
        await scene.accepts(20)
        await scene.passes()
    byes, connects = (sum(getattr(watcher, each) for watcher in scene.watchers) for each in ("byes", "connects"))
    assert byes >= clients * rounds, "each client was on a notifier that stopped"
    assert connects == clients + byes, "somebody was cut off without a word"


@pytest.mark.long
async def test_a_notifier_joins_and_leaves_while_events_flow(stage: Stage) -> None:
    """Each time partitions of events change hands, and what was read is read on, or again, by another."""
    async with stage(watchers=4, notifiers=3) as scene:
        third, url = scene.system.notifiers[2], scene.system.notifier_urls[2]
        scene.load(20, short)
        await _all_read(scene)
        for _ in range(5):
            await third.stop()
            await scene.accepts(40)
            await third.start()
            await _all_read(scene)
            await scene.accepts(40)
            third.kill()
            await third.wait()
            await scene.accepts(40)
            await third.start()
            await scene.system.ready(url)
            await _all_read(scene)
        await scene.passes()


async def _said_again(scene: Scene, *, shift: int) -> dict[TopicPartition, int]:
    """Say all events so far again, the last first, `shift` partitions further; return how far the topic goes then."""
    topic = Topics(scene.direct.topic_prefix).events
    consumer: Any = AIOKafkaConsumer(topic, **connection(scene.direct), group_id=None, auto_offset_reset="earliest")
    producer: Any = AIOKafkaProducer(**connection(scene.direct))
    await consumer.start()
    await producer.start()
    try:
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        records: list[Any] = []
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for found in (await consumer.getmany(timeout_ms=500)).values():
                records += found
        for record in reversed(records):
            sent = await producer.send_and_wait(
                topic,
                record.value,
                key=record.key,
                headers=list(record.headers),
                partition=(record.partition + shift) % len(partitions),
            )
            scene.forged.add(Place(sent.topic, sent.partition, sent.offset))
        return dict(await consumer.end_offsets(partitions))
    finally:
        await end(producer)
        await consumer.stop()


async def _read(settings: Settings, ends: dict[TopicPartition, int]) -> None:
    """Wait until notifiers have read events so far."""
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:

        async def check() -> bool:
            read = await admin.list_consumer_group_offsets(f"{settings.topic_prefix}-notifier")
            return all(read[each].offset >= offset for each, offset in ends.items() if offset and each in read)

        await eventually(check, "notifiers to read what was said again", 60)
    finally:
        await end(admin)


@pytest.mark.parametrize(
    "shift",
    [pytest.param(0, id="same partition"), pytest.param(1, id="another partition", marks=pytest.mark.long)],
)
async def test_events_that_are_said_again_in_reverse_take_nobody_back(stage: Stage, tmp_path: Path, shift: int) -> None:
    gate = tmp_path / "gate"
    async with stage(watchers=4, notifiers=2) as scene:
        tasks = [await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}}) for _ in range(6)]
        scene.load(20, short)
        for task in tasks:
            await scene.reaches(task, "running")
        await scene.accepts(60)
        for _ in range(2):
            await _read(scene.direct, await _said_again(scene, shift=shift))
        gate.touch()
        await scene.passes()
        assert len(scene.forged) > 200


class Person(Watcher):
    """A client whose machine is closed now and then."""

    async def opens(self) -> None:
        """Be connected from now on."""
        self._running = asyncio.create_task(self.run())

    async def closes(self) -> None:
        """Be gone."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


async def test_a_person_who_was_away_comes_back_to_where_the_task_is(stage: Stage, tmp_path: Path) -> None:
    """Meanwhile notifiers were deployed and Redis lost everything; one task went on, one ended, one stood still."""
    gate, never = tmp_path / "gate", tmp_path / "never"
    async with stage(notifiers=2) as scene, aiohttp.ClientSession() as session:
        person = Person(session, scene.system.streams, scene.system.key, scene.record, "person")
        await person.opens()
        goes_on = await scene.submit({"type": "demo.count", "payload": {"to": 1_000, "delay": 0.05}}, watched=False)
        ends = await scene.submit({"type": "test.gate", "payload": {"path": str(gate)}}, watched=False)
        stands = await scene.submit({"type": "test.gate", "payload": {"path": str(never)}}, watched=False)
        watches = {task: person.watch(task) for task in (goes_on, ends, stands)}
        await eventually(lambda: _shown(watches), "progress of all three")
        await person.closes()
        seen = {task: len(watch.frames) for task, watch in watches.items()}
        before = {task: watch.frames[-1].at or Position(0, 0) for task, watch in watches.items()}

        gate.touch()
        await scene.reaches(ends, "succeeded")
        for notifier, url in zip(scene.system.notifiers, scene.system.notifier_urls, strict=True):
            await notifier.stop()
            await _flushed(scene)
            await notifier.start()
            await scene.system.ready(url)
        await _flushed(scene)

        await person.opens()

        async def told() -> bool:
            # Of the one that stands still there is nothing to tell.
            return watches[ends].frames[-1].t == "end" and len(watches[goes_on].frames) > seen[goes_on] + 2

        await eventually(told, "a word about the task that ended and the one that went on")
        for task, watch in watches.items():
            asked, *answers = watch.frames[seen[task] :]
            assert (asked.t, asked.at) == ("sub", before[task])
            places = [answer.at for answer in answers if answer.at is not None]
            assert len(places) == len(answers)
            assert places == sorted(places), answers
            # What Redis lost is read from Postgres, which may not have the last progress yet: that is said.
            assert not answers or answers[0].reset or places[0] >= before[task], answers
        assert watches[ends].frames[-1].state == "succeeded"
        never.touch()
        async with scene.system.client() as client:
            await client.cancel(goes_on)
        assert await person.all_ended(60)
        await person.closes()
        await scene.passes()


async def _shown(watches: dict[UUID, Watch]) -> bool:
    return all(len([frame for frame in watch.frames if frame.t == "ev"]) >= 2 for watch in watches.values())


async def _flushed(scene: Scene) -> None:
    redis = connect(scene.direct)
    try:
        await redis.flushall()
    finally:
        await redis.aclose()
