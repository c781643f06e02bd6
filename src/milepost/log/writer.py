"""A Kafka producer that is rebuilt when the broker was away, and never blocks its callers."""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost_schemas.cloudevents import Header

log = get_logger("milepost.log.writer")

UNACKED_LIMIT = 20_000
"""Records handed in and not acknowledged; beyond it the writer takes no more."""
STANDSTILL_S = 20.0
SENT_AT_ONCE = 2_000
LARGEST = 1_000_000
"""Bytes of a value; Kafka's default for a whole record is 1 MiB."""
PACES: Final = ((80, 0.060), (6, 0.030), (0, 0.003))
"""Seconds between requests that carry more than so many records: a request costs more than the records in it."""
HINTS_TOGETHER = 32
"""So many hints of one round go to one partition before the next gets some."""
MISSING_S = 30.0
"""A topic that was found missing is not looked for again before that; its records are dropped meanwhile."""
_NO_TOPIC = (UnknownTopicOrPartitionError, TopicAuthorizationFailedError)


class Record(NamedTuple):
    """One record on its way. `on_ack` is called once, on the loop, when the broker has it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[Header]
    on_ack: Callable[[], None] | None = None
    hint: bool = False
    """Whether it may be dropped: only hints may name a topic that does not exist."""


class Writer:
    """Sends records in order of arrival; those not acknowledged when the producer fails are sent again by the next.

    So a record may arrive twice, and readers must tell copies apart. While `ready` is false, `write` refuses:
    callers then keep what only they hold, or drop what is just a hint. Hints for a topic that does not exist are
    dropped with a warning and hold up nobody else's: the name of a queue comes from outside. Records of one key go
    to one partition, chosen by CRC-32, but for hints, whose order means nothing: those of a moment go together, and
    partitions take turns. Partitions added to a topic are seen by the next producer.
    """

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._queue: deque[Record] = deque()
        self._unacked: dict[int, list[Record]] = {}
        self._unacked_records = 0
        self._count = 0
        self._turn = 0
        self._known: dict[str, int] = {}
        self._missing: dict[str, float] = {}
        self._parked: dict[str, list[Record]] = {}
        self._look_ups: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._broken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether a producer is up as far as we know."""
        return self._connected

    @property
    def unacknowledged(self) -> int:
        """Records that were taken and that the broker has not acknowledged."""
        parked = sum(map(len, self._parked.values())) if self._parked else 0
        return len(self._queue) + self._unacked_records + parked

    @property
    def ready(self) -> bool:
        """Whether `write` will take a record."""
        return self._connected and self.unacknowledged < UNACKED_LIMIT

    @property
    def at_ease(self) -> bool:
        """Whether so little waits that there is room for what may as well come later, or never."""
        return self.ready and len(self._queue) + self._unacked_records < UNACKED_LIMIT // 4

    def write(self, record: Record) -> bool:
        """Take a record to be sent; False, and nothing kept, while not `ready`."""
        if not self.ready:
            return False
        self._queue.append(record)
        self._idle.clear()
        self._wake.set()
        return True

    async def flush(self, timeout: float) -> bool:
        """Wait until all records are acknowledged; False if that took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Keep a producer up until cancelled; waits between attempts grow to 5 s, with jitter."""
        attempt = 0
        while True:
            producer: Any = AIOKafkaProducer(
                **connection(self._settings),
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                # One request is in flight at a time; what comes meanwhile is the next batch, and nobody waits for it.
                linger_ms=0,
                max_batch_size=256 * 1024,
                max_request_size=2 * 1024 * 1024,
            )
            try:
                async with asyncio.timeout(15):
                    await producer.start()
                self._broken.clear()
                self._connected = True
                if attempt:
                    log.info("Kafka producer is back", unacknowledged=self._unacked_records)
                attempt = 0
                await self._pump(producer)
            except Exception as error:  # noqa: BLE001 - whatever it was, the mend is a new producer
                if attempt in {0, 5} or attempt % 60 == 0:
                    log.warning("no Kafka producer; records wait or are left to the stealing path", error=repr(error))
                attempt += 1
            finally:
                self._connected = False
                for look_up in self._look_ups:
                    look_up.cancel()
                await end(producer)
            await asyncio.sleep(jittered(attempt))

    async def _pump(self, producer: Any) -> None:
        again = [record for records in (*self._unacked.values(), *self._parked.values()) for record in records]
        self._unacked, self._unacked_records = {}, 0
        self._parked.clear()
        self._known.clear()
        self._queue.extendleft(reversed(again))
        self._wake.set()
        loop = asyncio.get_running_loop()
        sent_at = pace = 0.0
        while True:
            await self._wake.wait()
            # A record after a pause goes at once; in a stream of them each request carries what a few milliseconds
            # brought. Requests, not records, are what costs: here, in the broker and in whoever reads.
            if (early := sent_at + pace - loop.time()) > 0:
                await asyncio.sleep(early)
            self._wake.clear()
            sent_at = loop.time()
            pace = next((seconds for records, seconds in PACES if len(self._queue) > records), PACES[-1][1])
            while self._queue:
                # One timer for many records: a send that waits does so because the producer stands still.
                async with asyncio.timeout(STANDSTILL_S):
                    await self._send_some(producer)
            if self._broken.is_set():
                raise ConnectionError("the producer failed to deliver")

    async def _send_some(self, producer: Any) -> None:
        """Send what waits, a batch for each partition: most of what a single send costs is not about the record."""
        if self._broken.is_set():
            raise ConnectionError("the producer failed to deliver")
        places: dict[tuple[str, int], list[Record]] = {}
        hints = 0
        self._turn += 1
        for _ in range(min(len(self._queue), SENT_AT_ONCE)):
            record = self._queue.popleft()
            partitions = self._known.get(record.topic)
            if partitions is None:
                self._park(producer, record)
            elif len(record.value) > LARGEST:
                self._leave_out(record)
            else:
                if record.hint:
                    # Any worker may take any hint, in any order: so a round's go together, and rounds take turns.
                    partition = (self._turn + hints // HINTS_TOGETHER) % partitions
                    hints += 1
                else:
                    partition = zlib.crc32(record.key or b"") % partitions
                places.setdefault((record.topic, partition), []).append(record)
        # All of them are on record before the first is sent: whatever happens then, none is forgotten.
        numbered = [(self._keep(records), place, records) for place, records in places.items()]
        for number, (topic, partition), records in numbered:
            await self._send(producer, number, topic, partition, records)

    def _keep(self, records: list[Record]) -> int:
        self._count += 1
        self._unacked[self._count] = records
        self._unacked_records += len(records)
        return self._count

    async def _send(self, producer: Any, number: int, topic: str, partition: int, records: list[Record]) -> None:
        batches = [producer.create_batch()]
        for record in records:
            call = {"timestamp": None, "key": record.key, "value": record.value, "headers": record.headers}
            if batches[-1].append(**call) is None:  # full; an empty one takes any record
                batches.append(producer.create_batch())
                batches[-1].append(**call)
        for batch in batches:
            batch.close()
        futures = [await producer.send_batch(batch, topic, partition=partition) for batch in batches]
        left = len(futures)

        def acked(done: "asyncio.Future[Any]") -> None:
            nonlocal left
            left -= 1
            if done.cancelled() or done.exception() is not None:
                self._broken.set()
                self._wake.set()
            elif left == 0:
                self._acked(number)

        for future in futures:
            future.add_done_callback(acked)

    def _acked(self, number: int) -> None:
        records = self._unacked.pop(number, None)
        if records is None:
            return
        self._unacked_records -= len(records)
        for record in records:
            if record.on_ack is not None:
                record.on_ack()
        self._rest()

    def _leave_out(self, record: Record) -> None:
        """Give up a record that is too large: sending it again can only fail again, and Postgres has what it says."""
        log.error("record is too large for Kafka and was left out", topic=record.topic, size=len(record.value))
        self._rest()

    def _park(self, producer: Any, record: Record) -> None:
        """Keep a record until its topic was looked up: for one that is missing that takes seconds."""
        if record.topic in self._parked:
            self._parked[record.topic].append(record)
        elif record.hint and self._missing.get(record.topic, 0.0) > asyncio.get_running_loop().time():
            self._rest()
        else:
            self._parked[record.topic] = [record]
            task = asyncio.create_task(self._look_up(producer, record.topic))
            self._look_ups.add(task)
            task.add_done_callback(self._look_ups.discard)

    async def _look_up(self, producer: Any, topic: str) -> None:
        try:
            async with asyncio.timeout(STANDSTILL_S):
                partitions = await producer.partitions_for(topic)
        except _NO_TOPIC as error:
            if not all(record.hint for record in self._parked.get(topic, ())):
                # Ours exist: so this is a broker that does not answer, and nothing may be dropped.
                self._broken.set()
                self._wake.set()
                return
            dropped = len(self._parked.pop(topic, ()))
            self._missing[topic] = asyncio.get_running_loop().time() + MISSING_S
            log.warning("no such topic; its hints are dropped", topic=topic, dropped=dropped, error=repr(error))
            self._rest()
        except Exception:  # noqa: BLE001 - the producer is failing; the next one looks again
            self._broken.set()
            self._wake.set()
        else:
            self._known[topic] = len(partitions)
            self._queue.extendleft(reversed(self._parked.pop(topic, [])))
            self._wake.set()

    def _rest(self) -> None:
        if not self._unacked and not self._queue and not self._parked:
            self._idle.set()
