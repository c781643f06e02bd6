"""The ingest: events from Kafka into the snapshots of Redis, in batches, without losing one."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final
from uuid import uuid4

from milepost.errors import Unavailable
from milepost.live import Snapshots
from milepost.live.pulse import Pulse
from milepost.live.wire import MEMBERS_MAX
from milepost.log import Reader, Topics, Writer
from milepost.log.deadletters import put_aside
from milepost.log.reader import Consumed, Records
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import SET_ASIDE
from milepost.runtime.settings import Settings
from milepost.runtime.tracing import valid_traceparent
from milepost_notifier.meter import Lateness
from milepost_notifier.spans import Passing
from milepost_schemas.cloudevents import Header, UndecodableError, decode, header
from milepost_schemas.event import Event

log = get_logger("milepost.notifier.ingest")

GROUP: Final = "notifier-ingest"
HEARTBEAT_S: Final = 0.5
"""So soon one that reads hears of a rebalance; meanwhile no watcher of any sees anything."""
BATCH: Final = 1000
WAIT_S: Final = 0.25
COMMIT_EVERY_S: Final = 0.5
REST_S: Final = 0.002
"""After a batch the next may gather for so long. An event that comes alone waits for nothing."""


def event_of(record: Consumed) -> Event:
    """Return the event in a record, with its traceparent. Raises UndecodableError."""
    headers: Sequence[Header] = record.headers
    event = decode(Event, record.value, headers)
    if len(event.data) >= MEMBERS_MAX:
        raise UndecodableError(f"data has {len(event.data)} members, a task has fewer than {MEMBERS_MAX}")
    if not event.tenant or "\x00" in event.tenant or ":" in event.tenant:
        raise UndecodableError("tenant is not a tenant's name")
    # From the header only: a traceparent in the body is not the contract.
    event.traceparent = valid_traceparent(header(headers, "traceparent"))
    return event


class Ingest:
    """Reads `milepost.events` and applies it. Offsets are committed after Redis and dead-letters have everything."""

    def __init__(self, settings: Settings, snapshots: Snapshots, pulse: Pulse, writer: Writer, *, traced: bool) -> None:
        topics = Topics(settings.topic_prefix)
        self._topics = topics
        self.group = f"{settings.topic_prefix}-{GROUP}"
        self.member = f"milepost-notifier-{uuid4().hex}"
        """The name of this process in the group: Kafka has it from before the join on, the others see it die."""
        self._reader = Reader(settings, self.member, [topics.events], group=self.group, heartbeat_s=HEARTBEAT_S)
        self._snapshots = snapshots
        self._pulse = pulse
        self._writer = writer
        self._traced = traced
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()
        self.joined = False
        """Whether the group ever gave us partitions."""
        self.applied = 0

    @property
    def connected(self) -> bool:
        """Whether we are in the group, as far as we know."""
        return self._reader.connected and self._reader.assigned

    @property
    def lags(self) -> Mapping[str, int]:
        """The same by topic; empty: not known."""
        return self._reader.lags

    @property
    def lag(self) -> int | None:
        """Events that wait for us, as of a few seconds ago; None: not known."""
        return self._reader.lag

    async def run(self) -> None:
        """Read until `stop` or until the consumer fails."""
        if not self._stopping.is_set():
            self._stopped.clear()
            try:
                async with self._reader.open() as reader:
                    await self._read(reader)
            finally:
                self._stopped.set()
        await self._stopping.wait()

    async def _read(self, reader: Reader) -> None:
        loop = asyncio.get_running_loop()
        done: Records = []
        committed_at = loop.time()
        while not self._stopping.is_set():
            records = await reader.read(BATCH, WAIT_S)
            self.joined = self.joined or reader.assigned
            if records:
                await self.take(records)
                done += records
                if len(records) < BATCH:
                    await asyncio.sleep(REST_S)
            if done and loop.time() - committed_at > COMMIT_EVERY_S:
                # Seldom, and late: an event that is read again is older than its snapshot and changes nothing.
                await reader.commit(done)
                done, committed_at = [], loop.time()
        await reader.commit(done)

    async def stop(self, timeout: float) -> None:
        """Read no more, and leave the group after the batch in hand, if that takes no longer than `timeout` seconds."""
        self._stopping.set()
        try:
            async with asyncio.timeout(timeout):
                await self._stopped.wait()
        except TimeoutError:
            log.info("stopped in the middle of a batch; it will be read again")

    async def take(self, records: Records) -> None:
        """Apply a batch, however long Redis or Kafka take to come back; nothing in hand is given up."""
        bad: list[tuple[Consumed, str]] = []
        passing = Passing() if self._traced else None
        await self._apply(partial(_events, records, bad, passing), len(records))
        if passing is not None:
            passing.passed(self.group)
        if bad:
            for record, _ in bad:
                SET_ASIDE.add(1, record.topic)
            await put_aside(self._writer, self._topics, bad)

    async def _apply(self, events: Callable[[], Iterator[Event]], most: int) -> None:
        """Apply events, at most so many, and say how late they were."""
        attempt = 0
        while True:
            late = Lateness(most)
            try:
                self.applied += await self._snapshots.apply(late.noting(events()))
            except Unavailable:
                await asyncio.sleep(jittered(attempt, cap=2.0))
                attempt += 1
            else:
                break
        oldest, now = late.observe(), asyncio.get_running_loop().time()
        if oldest is not None and self._pulse.due(now):
            await self._pulse.send(oldest, now)


def _events(records: Records, bad: list[tuple[Consumed, str]], passing: Passing | None) -> Iterator[Event]:
    """Yield what records hold, with a span in `passing`; those that cannot be read are put into `bad`.

    One by one, for whoever takes them to finish with each before the next is made: a thousand at once fall out of the
    processor's cache before they are looked at again.
    """
    bad.clear()
    if passing is not None:
        passing.again()
    for record in records:
        try:
            event = event_of(record)
        except UndecodableError as error:
            bad.append((record, str(error)))
            continue
        if passing is not None:
            passing.add(event, record)
        yield event
