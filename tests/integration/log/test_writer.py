"""Where records go: hints of a moment together, everything else by its key."""

import pytest

from milepost.log import Reader, Topics, Writer, ensure_topics
from milepost.log.writer import HINTS_TOGETHER, Record
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from tests.conftest import MakeSettings, eventually

pytestmark = [pytest.mark.stack]


async def _places_of(settings: Settings, topic: str, *moments: list[Record]) -> list[set[int]]:
    """Write records, the next moment's when the last one's have arrived; return each moment's partitions."""
    writer = Writer(settings, "test")
    async with background(("writer", writer.run)):

        async def ready() -> bool:
            return writer.ready

        await eventually(ready, "a producer", 40)
        for records in moments:
            assert all(writer.write(record) for record in records)
            assert await writer.flush(20)
    found: dict[bytes, int] = {}
    async with Reader(settings, "test", [topic], group="readers").open() as reader:
        while len(found) < sum(map(len, moments)):
            found |= {record.value: record.partition for record in await reader.read(1000, 0.25)}
    return [{found[record.value] for record in records} for records in moments]


def _records(topic: str, moment: int, count: int, *, hint: bool) -> list[Record]:
    return [Record(topic, b"%d" % number, b"%d.%d" % (moment, number), [], hint=hint) for number in range(count)]


async def test_hints_of_a_moment_share_a_partition_and_the_next_moment_takes_another(fresh: MakeSettings) -> None:
    """A request costs more than the hints in it, here, in the broker and in whoever reads."""
    settings = await fresh(kafka_partitions=4)
    await ensure_topics(settings, ["q"])
    topic = Topics(settings.topic_prefix).work("q")
    few, more = _records(topic, 0, HINTS_TOGETHER, hint=True), _records(topic, 1, HINTS_TOGETHER, hint=True)
    many = _records(topic, 2, 3 * HINTS_TOGETHER, hint=True)
    first, second, third = await _places_of(settings, topic, few, more, many)
    assert (len(first), len(second), len(third)) == (1, 1, 3)
    assert first != second


async def test_what_is_no_hint_goes_where_its_key_says(fresh: MakeSettings) -> None:
    """Or the events of a task could overtake each other."""
    settings = await fresh(kafka_partitions=4)
    await ensure_topics(settings)
    topic = Topics(settings.topic_prefix).events
    both = (_records(topic, moment, HINTS_TOGETHER, hint=False) for moment in range(2))
    first, second = await _places_of(settings, topic, *both)
    assert first == second == {0, 1, 2, 3}
