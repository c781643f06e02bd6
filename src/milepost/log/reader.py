"""A Kafka consumer that is rebuilt when it fails or stands still."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from milepost.log.connection import connection
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings

log = get_logger("milepost.log.reader")

Consumed: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
Records: TypeAlias = list[Consumed]


class Reader:
    """Reads topics in a group (committing when told to), or without one from the end.

    Values are bytes: a record that does not decode is the caller's to put aside, never a consumer's to choke on.
    """

    def __init__(
        self, settings: Settings, client_id: str, topics: Sequence[str], *, group: str | None, from_end: bool = False
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._topics = tuple(topics)
        self._group = group
        self._from_end = from_end
        self._consumer: Any = None
        self.connected = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Reader"]:
        """Join and read inside the block. Raises whatever kept the consumer from starting; bounded by 30 s."""
        consumer: Any = AIOKafkaConsumer(
            *self._topics,
            **connection(self._settings),
            client_id=self._client_id,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest" if self._from_end else "earliest",
            max_poll_interval_ms=24 * 3600 * 1000,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            metadata_max_age_ms=30_000,
            fetch_max_wait_ms=250,
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        )
        try:
            async with asyncio.timeout(30):
                await consumer.start()
            self._consumer = consumer
            self.connected = True
            yield self
        finally:
            self.connected = False
            self._consumer = None
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await consumer.stop()

    async def read(self, limit: int, wait_s: float) -> Records:
        """Return up to `limit` records, an empty list when none came in about `wait_s` seconds."""
        by_partition = await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=limit)
        return [record for records in by_partition.values() for record in records]

    async def read_in_order(self, lanes: Sequence[frozenset[str]], limit: int, wait_s: float) -> Records:
        """The same, but records of an earlier lane (a set of topics) come before those of a later one."""
        found: Records = []
        assigned = self._consumer.assignment()
        for lane in lanes:
            partitions = [partition for partition in assigned if partition.topic in lane]
            if partitions and len(found) < limit:
                by_partition = await self._consumer.getmany(*partitions, timeout_ms=0, max_records=limit - len(found))
                found += [record for records in by_partition.values() for record in records]
        return found or await self.read(limit, wait_s)

    async def commit(self, records: Records) -> None:
        """Commit the offsets behind `records`. A failure is only logged: redelivery is harmless."""
        if self._group is None or not records:
            return
        offsets: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            offsets[partition] = max(offsets.get(partition, 0), record.offset + 1)
        try:
            async with asyncio.timeout(5):
                await self._consumer.commit(offsets)
        except Exception as error:  # noqa: BLE001 - rebalance, broker away: the records come again, nothing is lost
            log.debug("offsets were not committed; the records will come again", error=repr(error))

    @property
    def assigned(self) -> bool:
        """Whether the group gave us partitions (or we read without a group)."""
        return self._consumer is not None and (self._group is None or bool(self._consumer.assignment()))
