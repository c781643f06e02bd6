"""The two ways a worker gets tasks: pushed by Kafka, stolen from Postgres."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from milepost.errors import Unavailable
from milepost.log import Reader, Topics, ensure_topics
from milepost.log.reader import Consumed, Records
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost.store import Claimed, Held, Store
from milepost_schemas import Dispatch, Priority
from milepost_schemas.cloudevents import UndecodableError, decode
from milepost_worker.identity import Identity
from milepost_worker.running import Running
from milepost_worker.strays import Strays

log = get_logger("milepost.worker.intake")

IDLE_WAIT_S = 0.25
COMMIT_EVERY_S = 0.5
BUSY_TIMES = 5
"""So many times `steal_after` a task has to be queued before a worker that reads hints takes it from Postgres."""

Start = Callable[[Sequence[Claimed], float], None]
"""Begins attempts; the second argument is until when their leases surely hold, by `time.monotonic`."""
PutAside = Callable[[Sequence[tuple[Consumed, str]]], Awaitable[None]]
"""Keeps records that cannot be processed, each with the reason, before offsets are committed."""


class Intake:
    """Claims tasks while there are free slots, until told to stop."""

    def __init__(
        self, settings: Settings, identity: Identity, store: Store, running: Running, start: Start, put_aside: PutAside
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._store = store
        self._running = running
        self._start = start
        self._put_aside = put_aside
        topics = Topics(settings.topic_prefix)
        self._lanes = [frozenset(topics.work(queue, lane) for queue in identity.queues) for lane in Priority]
        every = [topic for lane in self._lanes for topic in sorted(lane)]
        self._reader = Reader(settings, identity.name, every, group=f"{topics.prefix}-workers")
        self._types = frozenset(identity.types)
        self._idle = True
        self._closed = False
        self._claims: set[asyncio.Future[None]] = set()
        self.strays = Strays(store, identity.id, running, self._claims_over)

    @property
    def connected(self) -> bool:
        """Whether work topics are read."""
        return self._reader.connected

    def close(self) -> None:
        """Claim nothing more, from now on."""
        self._closed = True

    async def push(self) -> None:
        """Read work topics and claim what they hint at. Raises when the consumer fails; run it again then."""
        await self._not_closed()
        await ensure_topics(self._settings, self._identity.queues)
        self._idle = True
        loop = asyncio.get_running_loop()
        async with self._reader.open():
            log.info("reading work topics", queues=self._identity.queues)
            uncommitted: Records = []
            committed_at = loop.time()
            while not self._closed:
                await self._running.has_free()
                records = await self._reader.read_in_order(self._lanes, self._running.free, IDLE_WAIT_S)
                self._idle = not records
                if records:
                    await self._claim(records)
                    uncommitted += records
                if uncommitted and (not records or loop.time() - committed_at > COMMIT_EVERY_S):
                    # Late on purpose: a hint that is read again finds its epoch gone and is skipped.
                    await self._reader.commit(uncommitted)
                    uncommitted.clear()
                    committed_at = loop.time()

    async def _claim(self, records: Records) -> None:
        wanted = {}
        bad = []
        for record in records:
            try:
                hint = decode(Dispatch, record.value, record.headers)
            except UndecodableError as error:
                bad.append((record, str(error)))
                continue
            if hint.type in self._types:
                wanted[hint.task] = Held(hint.task, hint.epoch)
        if bad:
            await self._put_aside(bad)
        if not wanted:
            return
        hints = list(wanted.values())
        while hints and not self._closed:
            await self._running.has_free()
            hints = hints[await self._claim_some(hints) :]

    async def _claim_some(self, hints: list[Held]) -> int:
        """Claim as many as there are slots for; return how many hints are dealt with."""
        slots = self._running.reserve(len(hints))
        tries = 0
        try:
            while slots and not self._closed:
                try:
                    await self._claimed(self._store.claim(self._identity.id, self._settings.lease, hints[:slots]))
                except Unavailable as error:
                    log.warning("Postgres is away; hints are kept", error=str(error), hints=len(hints))
                    await asyncio.sleep(jittered(tries))
                    tries += 1
                    continue
                break
        finally:
            self._running.unreserve(slots)
        return slots

    async def _claimed(self, claim: Coroutine[Any, Any, list[Claimed]]) -> int:
        """Begin what a claim brings, and return how many that is; raises what the claim raised."""
        until = time.monotonic() + self._settings.lease
        mark: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._claims.add(mark)
        try:
            claimed = await claim
        except BaseException:
            # Postgres may have committed it all the same.
            self.strays.suspect()
            raise
        finally:
            self._claims.discard(mark)
            mark.set_result(None)
        self._start(claimed, until)
        return len(claimed)

    async def _claims_over(self) -> None:
        """Wait until the claims that are under way now are over."""
        if self._claims:
            await asyncio.wait(set(self._claims))

    async def steal(self) -> None:
        """Take what has been queued for long; runs until told to stop.

        While hints keep coming that is what was passed over for much longer than hints take: its own may be lost, or
        sit in a partition that is not ours.
        """
        await self._not_closed()
        while not self._closed:
            await self._running.has_free()
            idle = self._idle or not self._reader.connected
            older_than = self._settings.steal_after * (1 if idle else BUSY_TIMES)
            got = await self._steal_once(older_than)
            if got == 0 or self._running.free > 0:
                await self._pause(jittered(1, base=older_than / 2, cap=older_than), cut_short=not idle)

    async def _pause(self, seconds: float, *, cut_short: bool) -> None:
        """Sleep; with `cut_short` only until no hints come any more, as when Kafka goes away."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, IDLE_WAIT_S) if cut_short else left)
            if cut_short and (self._idle or not self._reader.connected):
                return

    async def _not_closed(self) -> None:
        """Never return once closed: whoever keeps loops running would start this one again and again."""
        if self._closed:
            await asyncio.Event().wait()

    async def _steal_once(self, older_than_s: float) -> int:
        slots = self._running.reserve(self._running.free)
        if slots == 0:
            return 0
        try:
            steal = self._store.steal(
                self._identity.id,
                self._settings.lease,
                self._identity.queues,
                self._identity.types,
                older_than_s,
                slots,
            )
            stolen = await self._claimed(steal)
            if stolen:
                log.info("took queued tasks from Postgres", tasks=stolen)
            return stolen
        finally:
            self._running.unreserve(slots)
