"""Records in, snapshots and dead letters out. The reader itself is milepost.log's."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord

from milepost.live import Snapshots
from milepost.live.pulse import Pulse
from milepost.log import Writer
from milepost.log.reader import Consumed
from milepost.log.writer import Record
from milepost.runtime.settings import Settings
from milepost_notifier.ingest import Ingest
from milepost_schemas.cloudevents import Header, headers_of
from milepost_schemas.event import Event
from tests.integration.notifier.acting import TENANT, Living, Server

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class FakeWriter:
    """Takes what is written; refuses the first `refusals` times."""

    def __init__(self, refusals: int = 0) -> None:
        self.records: list[Record] = []
        self._refusals = refusals

    @property
    def ready(self) -> bool:
        self._refusals -= 1
        return self._refusals < 0

    def write(self, record: Record) -> bool:
        self.records.append(record)
        return True

    async def flush(self, _timeout: float) -> bool:
        return True


def record(value: bytes | None, headers: list[Header], offset: int = 0) -> Consumed:
    return cast(
        "Consumed",
        ConsumerRecord("milepost.events", 3, offset, 0, 0, b"key", value, None, 0, 0, tuple(headers)),
    )


def encoded(event: Event, trace: str | None = None) -> tuple[bytes, list[Header]]:
    headers = headers_of(Event, identity="1", source="/test", subject=str(event.task), traceparent=trace)
    return event.model_dump_json(exclude_none=True).encode(), headers


def record_of(event: Event, trace: str | None = None) -> Consumed:
    return record(*encoded(event, trace))


def ingest_of(settings: Settings, snapshots: Snapshots, writer: Any) -> Ingest:
    pulse = Pulse(snapshots._redis, settings.topic_prefix)
    return Ingest(settings, snapshots, pulse, cast("Writer", writer), traced=False)


async def test_events_are_applied_with_the_trace_of_their_header(settings: Settings, snapshots: Snapshots) -> None:
    task = Living()
    ingest = ingest_of(settings, snapshots, FakeWriter())
    await ingest.take([record_of(task.queued(), TRACE), record_of(task.started(), "forged\n")])
    view = await snapshots.read(TENANT, task.id)
    assert view is not None
    assert (view.at, view.traceparent) == ((1, 0), TRACE)
    assert ingest.applied == 2


@pytest.mark.parametrize(
    "change",
    [
        {"value": None},
        {"value": b"{"},
        {"value": b"\xff"},
        {"value": b"[" * 100_000},
        {"value": b'{"task":"x"}'},
        {"headers": []},
        {"headers": [("ce_type", b"\xff")]},
        {"headers": [("ce_type", b"dev.milepost.dispatch.v1")]},
        {"replace": (b'"default"', b'"a:b"')},
        {"replace": (b'"default"', b'""')},
        {"replace": (b'"queued"', b'"dancing"')},
        {"replace": (b'"at":[0,0]', b'"at":[0,-1]')},
        {"replace": (b'"data":{', b'"data":{%b' % b"".join(b'"m%d":1,' % n for n in range(300)))},
    ],
    ids=lambda change: str(change)[:30],
)
async def test_what_is_not_an_event_is_put_aside_and_reading_goes_on(
    settings: Settings, snapshots: Snapshots, change: dict[str, Any]
) -> None:
    good, bad = Living(), Living()
    value, headers = encoded(bad.queued())
    if "replace" in change:
        changed = value.replace(*change["replace"])
        assert changed != value
        value = changed
    writer = FakeWriter(refusals=2)
    broken = record(change.get("value", value), change.get("headers", headers), offset=41)
    await ingest_of(settings, snapshots, writer).take([broken, record_of(good.queued())])
    assert await snapshots.read(TENANT, good.id) is not None
    [letter] = writer.records
    found = dict(letter.headers)
    assert letter.topic == "milepost.dead-letters"
    assert letter.value == (broken.value or b"")
    assert (found["x-origin-topic"], found["x-origin-partition"]) == (b"milepost.events", b"3")
    assert found["x-origin-offset"] == b"41"
    assert found["x-error"]


async def test_a_batch_is_kept_until_redis_is_back(
    settings: Settings, snapshots: Snapshots, redis_server: Server
) -> None:
    task = Living()
    ingest = ingest_of(settings, snapshots, FakeWriter())
    redis_server.stop()
    try:
        taking = asyncio.create_task(ingest.take([record_of(task.queued()), record_of(task.started())]))
        async with asyncio.timeout(10):
            while snapshots.healthy:
                await asyncio.sleep(0.005)
        assert not taking.done()
    finally:
        redis_server.start()
    async with asyncio.timeout(10):
        await taking
    view = await snapshots.read(TENANT, task.id)
    assert view is not None
    assert view.at == (1, 0)
