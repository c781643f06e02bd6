"""A Kafka consumer that is rebuilt when it fails or stands still."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.log.standstill import LOOK_EVERY_S, PATIENCE_S, Look, Memory, judge
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings

log = get_logger("milepost.log.reader")

Consumed: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
Records: TypeAlias = list[Consumed]

START_S: Final = 30.0
ANSWER_S: Final = 5.0
"""A commit, or the question where partitions end, is given up after it."""
OVERRUN_S: Final = 90.0
"""A read may take so much longer than told: aiokafka waits for a rebalance to end, which takes some time-outs."""
SESSION_S: Final = 10.0


class StandsStillError(ConnectionError):
    """A consumer gets nothing although there is something to read. Offsets are kept: the next one goes on there."""


class Reader:
    """Reads topics in a group (committing when told to), or without one from the end.

    Values are bytes: a record that does not decode is the caller's to put aside, never a consumer's to choke on.
    """

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        topics: Sequence[str],
        *,
        group: str | None,
        from_end: bool = False,
        heartbeat_s: float = 2.0,
    ) -> None:
        """`heartbeat_s`: so soon a member hears of a rebalance, for which all others wait."""
        self._settings = settings
        self._client_id = client_id
        self._topics = tuple(topics)
        self._group = group
        self._from_end = from_end
        self._heartbeat_s = heartbeat_s
        self._consumer: Any = None
        self._asked_s = 0.0
        self._asked_at: float | None = None
        self._verdict: str | None = None
        self.patience_s = PATIENCE_S
        self.connected = False
        """Whether a consumer is up and its broker answered when last asked."""
        self.lags: dict[str, int] = {}
        """Records behind our position in our partitions by topic, as of a few seconds ago; empty: not known."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Reader"]:
        """Join and read inside the block. Raises whatever kept the consumer from starting; bounded by `START_S`."""
        consumer: Any = AIOKafkaConsumer(
            *self._topics,
            **connection(self._settings),
            client_id=self._client_id,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest" if self._from_end else "earliest",
            max_poll_interval_ms=24 * 3600 * 1000,
            session_timeout_ms=int(SESSION_S * 1000),
            heartbeat_interval_ms=int(self._heartbeat_s * 1000),
            metadata_max_age_ms=30_000,
            fetch_max_wait_ms=500,
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        )
        watching: asyncio.Task[None] | None = None
        self._asked_s, self._asked_at, self._verdict = 0.0, None, None
        try:
            async with asyncio.timeout(START_S):
                await consumer.start()
            self._consumer = consumer
            self.connected = True
            watching = asyncio.create_task(self._watch(consumer), name=f"watch over {self._client_id}")
            yield self
        finally:
            self.connected = False
            self._consumer = None
            self.lags = {}
            if watching is not None:
                watching.cancel()
            await end(consumer)

    async def read(self, limit: int, wait_s: float) -> Records:
        """Return up to `limit` records, an empty list when none came in about `wait_s` seconds.

        Raises StandsStillError when the consumer has to be replaced: leave `open` and enter it again.
        """
        records = await self._take((), limit, wait_s)
        self._asked(everything=len(records) < limit)
        return records

    async def _take(self, partitions: Sequence[TopicPartition], limit: int, wait_s: float) -> Records:
        if self._verdict is not None:
            raise StandsStillError(f"the consumer stands still: {self._verdict}")
        try:
            async with asyncio.timeout(wait_s + OVERRUN_S):
                by_partition = await self._consumer.getmany(
                    *partitions, timeout_ms=int(wait_s * 1000), max_records=limit
                )
        except TimeoutError as error:
            raise StandsStillError("the consumer stands still: a read never ended") from error
        return [record for records in by_partition.values() for record in records]

    def _asked(self, *, everything: bool) -> None:
        """Note that the caller took records; `everything`: all there were, in every partition.

        Only the time between two such reads counts, and at most a second of it, so that a caller without room for
        more, or one that is busy with what it got, makes no consumer look stuck.
        """
        if not everything:
            self._asked_at = None
            return
        now = asyncio.get_running_loop().time()
        if self._asked_at is not None:
            self._asked_s += min(now - self._asked_at, 1.0)
        self._asked_at = now

    async def _watch(self, consumer: Any) -> None:
        """Look at the consumer every few seconds until it has to be replaced; the next read raises then."""
        memory = Memory()
        while self._verdict is None:
            await asyncio.sleep(jittered(1, base=LOOK_EVERY_S * 2 / 3, cap=LOOK_EVERY_S * 4 / 3))
            look = await self._look(consumer)
            self.connected = look.ends is not None
            self.lags = _lags(look)
            memory, self._verdict = judge(memory, look, self.patience_s)
        log.warning(
            "a consumer stands still and is replaced", why=self._verdict, topics=self._topics[:4], group=self._group
        )

    async def _look(self, consumer: Any) -> Look:
        # Of a look that crosses a rebalance nothing but the positions is compared, and those begin anew.
        subscriptions = consumer._subscription  # noqa: SLF001 - the public `position` waits where this one says None
        subscription = subscriptions.subscription
        assignment: Any = None if subscription is None else subscription.assignment
        joined = bool(assignment and assignment.active) and not subscriptions.reassignment_in_progress
        positions: dict[TopicPartition, int | None] = {}
        ends: dict[TopicPartition, int] | None = {}
        if joined:
            for partition in assignment.tps:
                state = assignment.state_value(partition)
                positions[partition] = state.position if state.has_valid_position else None
            ends = await self._ends(consumer, list(positions))
        return Look(asyncio.get_running_loop().time(), self._asked_s, joined, positions, ends)

    @staticmethod
    async def _ends(consumer: Any, partitions: list[TopicPartition]) -> dict[TopicPartition, int] | None:
        if not partitions:
            return {}
        try:
            async with asyncio.timeout(ANSWER_S):
                ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        except Exception:  # noqa: BLE001 - whatever it was, the broker did not say
            return None
        return ends

    async def read_waiting(self, limit: int) -> Records:
        """Return up to `limit` records that were fetched already, without waiting for others. Raises as `read` does."""
        records = await self._take((), limit, 0.0)
        self._asked(everything=len(records) < limit)
        return records

    async def read_in_order(self, lanes: Sequence[frozenset[str]], limit: int, wait_s: float) -> Records:
        """The same, but records of an earlier lane (a set of topics) come before those of a later one."""
        found: Records = []
        assigned = self._consumer.assignment()
        for lane in lanes:
            partitions = [partition for partition in assigned if partition.topic in lane]
            if partitions and len(found) < limit:
                found += await self._take(partitions, limit - len(found), 0.0)
        if not found:
            return await self.read(limit, wait_s)
        self._asked(everything=len(found) < limit)
        return found

    async def commit(self, records: Records) -> None:
        """Commit the offsets behind `records`. A failure is only logged: redelivery is harmless."""
        if self._group is None or not records:
            return
        offsets: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            offsets[partition] = max(offsets.get(partition, 0), record.offset + 1)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._consumer.commit(offsets)
        except Exception as error:  # noqa: BLE001 - rebalance, broker away: the records come again, nothing is lost
            log.debug("offsets were not committed; the records will come again", error=repr(error))

    @property
    def lag(self) -> int | None:
        """Records behind in all topics together; None: not known."""
        return sum(self.lags.values()) if self.lags else None

    @property
    def assigned(self) -> bool:
        """Whether the group gave us partitions (or we read without a group)."""
        return self._consumer is not None and (self._group is None or bool(self._consumer.assignment()))


def _lags(look: Look) -> dict[str, int]:
    ends = look.ends or {}
    lags: dict[str, int] = {}
    for partition, position in look.positions.items():
        if position is not None and partition in ends:
            lags[partition.topic] = lags.get(partition.topic, 0) + max(0, ends[partition] - position)
    return lags
