"""Kafka clients that stop working, on a broker of their own that is paused and killed."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from milepost.embedded import Stack
from milepost.errors import Unavailable
from milepost.log import Reader, Topics, Writer, ensure_topics
from milepost.log.reader import StandsStillError
from milepost.log.writer import Record
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from tests.conftest import eventually, started_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Servers to break; each test leaves them running."""
    async with started_stack() as running:
        yield running


@pytest.fixture
async def settings(stack: Stack) -> Settings:
    made = Settings.load(kafka_bootstrap=stack.kafka_bootstrap, topic_prefix=f"healing{next(_numbers)}")

    async def there() -> bool:
        try:
            await ensure_topics(made)
        except Unavailable:  # a broker that was paused before may be found gone only now, and is back at once
            return False
        return True

    await eventually(there, "the broker to make topics")
    return made


_numbers = iter(range(1, 1000))


def names(before: "set[asyncio.Task[Any]]") -> list[str]:
    """Return what runs on this loop and did not before."""
    return sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks() - before)  # type: ignore[union-attr]


@asynccontextmanager
async def paused(stack: Stack) -> AsyncIterator[None]:
    """Hold the broker by SIGSTOP: it accepts connections and answers nothing."""
    stack.kafka[0].pause()
    try:
        yield
    finally:
        stack.kafka[0].resume()
        await stack.kafka[0].ready()


async def written(settings: Settings, count: int) -> None:
    """Write `count` events, and wait until the broker has them."""
    writer = Writer(settings, "test")
    async with background(("writer", writer.run)):
        await _connected(writer)
        for number in range(count):
            writer.write(Record(Topics(settings.topic_prefix).events, b"k%d" % number, b"%d" % number, []))
        assert await writer.flush(20)


async def _connected(writer: Writer) -> None:
    async def check() -> bool:
        return writer.connected

    await eventually(check, "a producer", 40)


def reader_of(settings: Settings, group: str | None = "readers", **options: Any) -> Reader:
    return Reader(settings, "test", [Topics(settings.topic_prefix).events], group=group, **options)


async def _read_nothing(reader: Reader) -> None:
    async with asyncio.timeout(30):
        while True:
            assert await reader.read(10, 0.25) == []


@pytest.mark.parametrize("group", ["readers", None])
async def test_a_consumer_that_stands_still_is_replaced_and_the_next_goes_on_there(
    settings: Settings, group: str | None
) -> None:
    reader = reader_of(settings, group)
    reader.patience_s = 2.0
    async with reader.open():
        await reader.read(10, 0.5)
        # What a fetcher looks like that waits for what never happens: up, in the group, and nothing comes.
        reader._consumer.pause(*reader._consumer.assignment())
        await written(settings, 20)
        with pytest.raises(StandsStillError, match="although it is read"):
            await _read_nothing(reader)
    async with reader.open():
        got: list[bytes | None] = []
        async with asyncio.timeout(30):
            while len(got) < 20:
                got += [record.value for record in await reader.read(100, 0.25)]
    assert sorted(got, key=lambda v: int(v or 0)) == [b"%d" % number for number in range(20)]


async def test_a_consumer_nobody_reads_is_left_alone_however_far_it_is_behind(settings: Settings) -> None:
    reader = reader_of(settings)
    reader.patience_s = 0.5
    async with reader.open():
        await reader.read(10, 0.5)
        await written(settings, 20)

        async def seen() -> bool:
            return reader.lag == 20

        await eventually(seen, "the lag to be seen")
        looks = 0
        while looks < 3:  # of the watch, which judged each time
            reader.lags = {}

            async def again() -> bool:
                return reader.lag is not None

            await eventually(again, "another look")
            looks += 1
        assert len(await reader.read(100, 1.0)) > 0


@pytest.mark.parametrize("group", ["readers", None])
async def test_a_consumer_ends_in_bounded_time_without_its_broker_and_leaves_nothing(
    settings: Settings, stack: Stack, group: str | None
) -> None:
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    reader = reader_of(settings, group)
    async with AsyncExitStack() as ended_first:
        async with reader.open():
            await reader.read(10, 0.5)
            await ended_first.enter_async_context(paused(stack))
            began = loop.time()
        assert loop.time() - began < 4.0
        assert names(before) == []


async def test_a_producer_ends_in_bounded_time_without_its_broker_and_leaves_nothing(
    settings: Settings, stack: Stack
) -> None:
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    writer = Writer(settings, "test")
    async with AsyncExitStack() as ended_first:
        async with background(("writer", writer.run)):
            await _connected(writer)
            await written(settings, 1)
            await ended_first.enter_async_context(paused(stack))
            writer.write(Record(Topics(settings.topic_prefix).events, b"k", b"v", []))
            assert not await writer.flush(0.5)
            began = loop.time()
        assert loop.time() - began < 5.0
        assert names(before) == []


async def test_a_producer_is_replaced_when_its_broker_answers_nothing_and_events_of_a_task_keep_their_order(
    settings: Settings, stack: Stack
) -> None:
    """Copies may arrive, but behind what they copy: whoever drops what is not newer sees each once, in order."""
    topic = Topics(settings.topic_prefix).events
    writer = Writer(settings, "test")
    acknowledged = 0

    def on_ack() -> None:
        nonlocal acknowledged
        acknowledged += 1

    sent: dict[bytes, int] = defaultdict(int)

    def write(count: int) -> None:
        for number in range(count):
            key = b"task%d" % (number % 7)
            assert writer.write(Record(topic, key, b"%d" % sent[key], [], on_ack))
            sent[key] += 1

    async with background(("writer", writer.run)):
        await _connected(writer)
        write(100)
        async with paused(stack):
            write(500)

            async def given_up() -> bool:
                return not writer.connected

            await eventually(given_up, "the writer to give up a producer that stands still", 60)
        await _connected(writer)
        write(100)
        assert await writer.flush(60)
    assert acknowledged == sum(sent.values()) == 700
    newest: dict[bytes, int] = defaultdict(lambda: -1)
    async with reader_of(settings).open() as reader:
        async with asyncio.timeout(30):
            while newest != {key: count - 1 for key, count in sent.items()}:
                for record in await reader.read(1000, 0.25):
                    assert record.key is not None
                    number = int(record.value or b"")
                    assert number <= newest[record.key] + 1, "a gap"
                    newest[record.key] = max(newest[record.key], number)


async def test_a_consumer_goes_on_after_its_broker_was_killed_and_started_again(
    settings: Settings, stack: Stack
) -> None:
    reader = reader_of(settings)
    got: set[bytes | None] = set()

    async def read() -> None:
        async with reader.open():
            while True:
                got.update(record.value for record in await reader.read(100, 0.25))

    async with background(("reader", read)):
        await written(settings, 10)

        async def all_of_it() -> bool:
            return got == {b"%d" % number for number in range(10)}

        await eventually(all_of_it, "the first records", 30)
        stack.kafka[0].kill()
        await stack.kafka[0].process.wait()
        got.clear()
        await stack.kafka[0].start()
        await written(settings, 10)
        await eventually(all_of_it, "records after the restart", 60)


async def test_a_queue_whose_topic_collides_with_anothers_is_refused_with_both_names(settings: Settings) -> None:
    while await ensure_topics(settings, ["a.b"]):  # until every broker knows of it
        pass
    with pytest.raises(Unavailable, match=r"work\.a_b\S* cannot be made beside \S+work\.a\.b"):
        await ensure_topics(settings, ["a_b"])
