"""How a worker gets tasks: pushed by Kafka while it has slots to spare, by turns from Postgres when it had none."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from time import time_ns
from typing import Any

from milepost.domain.limits import Limits
from milepost.domain.turns import Group
from milepost.errors import Unavailable
from milepost.log import Reader, Topics, ensure_topics
from milepost.log.reader import Consumed, Records
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import SET_ASIDE
from milepost.runtime.settings import Settings
from milepost.runtime.tracing import tracing_on
from milepost.store import Claimed, Held, Limited
from milepost.store.by_turns import ByTurns
from milepost.store.limits import group_of
from milepost.store.records import PRIORITIES
from milepost_schemas import Dispatch, Priority
from milepost_schemas.cloudevents import UndecodableError, decode
from milepost_worker import meter
from milepost_worker.came import PUSH, STEAL, TURN, Came, How
from milepost_worker.identity import Identity
from milepost_worker.running import Running
from milepost_worker.strays import Strays

log = get_logger("milepost.worker.intake")

IDLE_WAIT_S = 0.25
COMMIT_EVERY_S = 0.5
LIMITS_EVERY_S = 1.0
HELD_S = 0.25
"""What a limit holds back is tried again so often, for the case that the place was freed elsewhere."""
PASSED_OVER = 1_000
"""So many hints are read at once by a worker that does not follow them."""
BARREN_S = (0.02, 0.25)
"""Hints are waited for so long after a second look that brought nothing although others wait: at first, and at most."""
BUSY_TIMES = 5
"""So many times `steal_after` a task has to be queued before a worker that reads hints takes it from Postgres."""

Start = Callable[[Sequence[Claimed], float, Came], None]
"""Begins attempts; the second argument is until when their leases surely hold, by `time.monotonic`."""
_Hint = tuple[Consumed, Dispatch]
PutAside = Callable[[Sequence[tuple[Consumed, str]]], Awaitable[None]]
"""Keeps records that cannot be processed, each with the reason, before offsets are committed."""


class Intake:
    """Claims tasks while there are free slots, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        store: Limited,
        running: Running,
        start: Start,
        put_aside: PutAside,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._store = store
        self._running = running
        self._start = start
        self._put_aside = put_aside
        topics = Topics(settings.topic_prefix)
        self._lanes = [frozenset(topics.work(queue, lane) for queue in identity.queues) for lane in Priority]
        self._lane_of = {
            topics.work(queue, lane): (queue, PRIORITIES[lane]) for queue in identity.queues for lane in Priority
        }
        every = [topic for lane in self._lanes for topic in sorted(lane)]
        self._group = f"{topics.prefix}-workers"
        self._reader = Reader(settings, identity.name, every, group=self._group)
        self._types = frozenset(identity.types)
        self._by_turns = ByTurns(store, identity.id, settings.lease, identity.queues, identity.types)
        self._taking = asyncio.Lock()
        self._freed = asyncio.Event()
        """Set when a place under a limit may be free, or a task with a limit came."""
        self._learnt = asyncio.Event()
        """Set once limits were read: before that nobody knows what is paused, and nothing is claimed."""
        self._behind = False
        """Whether tasks may wait whose hints we did not follow, or never got."""
        self._barren = 0
        self._uncommitted: Records = []
        self._committed_at = 0.0
        self._idle = True
        self._closed = False
        self._claims: set[asyncio.Future[None]] = set()
        self.strays = Strays(store, identity.id, running, self._claims_over)

    @property
    def connected(self) -> bool:
        """Whether work topics are read."""
        return self._reader.connected

    @property
    def lags(self) -> Mapping[str, int]:
        """Hints behind, by topic."""
        return self._reader.lags

    def close(self) -> None:
        """Claim nothing more, from now on."""
        self._closed = True

    async def push(self) -> None:
        """Read work topics and claim what they hint at. Raises when the consumer fails; run it again then.

        A worker whose slots were all taken does not go by hints, which come in the order of submissions: until nobody
        waits any more it asks Postgres whose turn it is.
        """
        await self._may_begin()
        await ensure_topics(self._settings, self._identity.queues)
        self._idle = True
        self._behind = True  # who knows for how long nobody read
        async with self._reader.open():
            log.info("reading work topics", queues=self._identity.queues)
            self._uncommitted.clear()
            while not self._closed:
                if self._running.free <= 0:
                    self._behind = True
                    await self._running.has_free()
                if not self._behind:
                    await self._follow_hints(IDLE_WAIT_S)
                    continue
                if not self._barren:
                    await self._pass_over_hints()
                await self._take_turns()

    async def _follow_hints(self, wait_s: float) -> None:
        free = self._running.free
        records = await self._reader.read_in_order(self._lanes, free, wait_s)
        self._idle = not records
        if records:
            await self._claim(records)
        if len(records) >= free:
            # There was a hint for each slot: others may be next, whose hints are behind these. (It is not enough to see
            # that no slot is left: on a busy machine one is free again each time this looks.)
            self._behind = True
        await self._dealt_with(records, rest=not records)

    async def _pass_over_hints(self) -> None:
        """Read hints only to be rid of them: their tasks were committed before, so a look that begins now sees them."""
        records = await self._reader.read_waiting(PASSED_OVER)
        await self._hints_in(records)
        await self._dealt_with(records, rest=False)

    async def _dealt_with(self, records: Records, *, rest: bool) -> None:
        """Commit now and then, and when there is a `rest`: late on purpose.

        A hint that is read again finds its epoch gone and is skipped.
        """
        self._uncommitted += records
        now = time.monotonic()
        if self._uncommitted and (rest or now - self._committed_at > COMMIT_EVERY_S):
            await self._reader.commit(self._uncommitted)
            self._uncommitted.clear()
            self._committed_at = now

    async def _take_turns(self) -> None:
        """Take what free slots there are for, whose turn it is; after the last one, follow hints again.

        Hints are followed, too, while looks are barren: where more tenants wait than one look sees, and none of those
        may be taken (paused, behind limits, of types nobody here knows), it may be long until somebody's turn comes.
        """
        self._idle = False
        try:
            got, more = await self._take(0.0)
        except Unavailable as error:
            log.warning("Postgres is away; nothing is claimed", error=str(error))
            await asyncio.sleep(jittered(self._barren))
            self._barren += 1
            return
        self._behind = more
        if got or not more:
            self._barren = 0
        elif self._running.free > 0:
            first, most = BARREN_S
            wait_s = min(most, first * 2.0 ** min(self._barren, 10)) if self._barren else 0.0
            self._barren += 1
            await self._follow_hints(wait_s)

    def _not_held_back(self, hints: list[_Hint]) -> list[_Hint]:
        """Return the hints whose tasks may be claimed by hint: not in a paused queue, and without a limit.

        Those with a limit take turns at once.
        """
        limits, free = self._by_turns.limits, []
        if not limits:
            return hints
        for record, hint in hints:
            queue, priority = self._lane_of[record.topic]
            group = Group(queue, hint.tenant, priority, hint.type, hint.key or "")
            if limits.pause(queue, hint.tenant) is not None:
                continue
            # An older writer leaves the key out.
            if limits.of(group) or ("key" not in hint.model_fields_set and limits.on_keys(hint.tenant)):
                self._freed.set()
                continue
            free.append((record, hint))
        return free

    async def _hints_in(self, records: Records) -> list[_Hint]:
        """Return the hints in records; what is none is put aside."""
        hints: list[_Hint] = []
        bad = []
        for record in records:
            try:
                hints.append((record, decode(Dispatch, record.value, record.headers)))
            except UndecodableError as error:
                bad.append((record, str(error)))
        if bad:
            for record, _ in bad:
                SET_ASIDE.add(1, record.topic)
            await self._put_aside(bad)
        return hints

    async def _claim(self, records: Records) -> None:
        found = await self._hints_in(records)
        known = {hint.task: (record, hint) for record, hint in found if hint.type in self._types}
        hints = list(known.values())
        while hints and not self._closed:
            await self._running.has_free()
            hints = hints[await self._claim_some(hints) :]
        if any(hint.more for _, hint in found):
            self._behind = True  # others wait of whom nobody hears

    async def _claim_some(self, hints: list[_Hint]) -> int:
        """Claim as many as there are slots for; return how many hints are dealt with.

        What is held back is looked up at each try: a hint may have waited for minutes, for a slot or for Postgres.
        """
        slots = self._running.reserve(len(hints))
        tries = 0
        try:
            while not self._closed:
                free = self._not_held_back(hints[:slots])
                wanted = [Held(hint.task, hint.epoch) for _, hint in free]
                if not wanted:
                    break
                try:
                    claim = self._store.claim(self._identity.id, self._settings.lease, wanted)
                    await self._claimed(claim, self._came(free))
                except Unavailable as error:
                    log.warning("Postgres is away; hints are kept", error=str(error), hints=len(wanted))
                    await asyncio.sleep(jittered(tries))
                    tries += 1
                    continue
                break
        finally:
            self._running.unreserve(slots)
        return slots

    def _came(self, hints: list[_Hint]) -> Came:
        if not tracing_on():
            return PUSH
        return Came(How.PUSH, time_ns(), {hint.task: record for record, hint in hints}, self._group)

    async def _claimed(self, claim: Coroutine[Any, Any, list[Claimed]], came: Came) -> int:
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
        meter.claimed(claimed, came.how)
        self._start(claimed, until, came)
        return len(claimed)

    async def _claims_over(self) -> None:
        """Wait until the claims that are under way now are over."""
        if self._claims:
            await asyncio.wait(set(self._claims))

    async def steal(self) -> None:
        """Take what has been queued for long; runs until told to stop.

        While hints keep coming that is what was passed over for much longer than hints take: its own may be lost, or
        sit in a partition that is not ours. While turns are taken this takes turns as well: what is old alone would be
        one tenant's, before another's first task.
        """
        await self._may_begin()
        while not self._closed:
            if self._running.free <= 0:
                self._behind = True
                await self._running.has_free()
            idle = self._idle or not self._reader.connected
            patience = self._settings.steal_after * (1 if idle else BUSY_TIMES)
            turns = self._behind
            got, more = await self._take(0.0 if turns else patience)
            if turns:
                self._behind = more
            elif got:
                log.info("took queued tasks from Postgres", tasks=got)
            if got == 0 or not more:
                await self._pause(jittered(1, base=patience / 2, cap=patience), cut_short=not idle)

    async def keep_to_limits(self) -> None:
        """Learn every second what people have set to hold tasks back, until cancelled."""
        known = None
        while True:
            # Before the limits: what changes between the two is read again.
            version = await self._store.limits_version()
            if version != known:
                self._keep_to(await self._store.limits())
                known = version
                self._learnt.set()
            await asyncio.sleep(LIMITS_EVERY_S)

    def _keep_to(self, limits: Limits) -> None:
        if limits == self._by_turns.limits:
            return
        log.info("limits have changed")
        self._by_turns.limits = limits
        self._behind = True
        self._freed.set()

    def ended(self, claimed: Claimed) -> None:
        """Note that a task does not run here any more: its place under a limit may be free. Never waits."""
        if self._by_turns.limits and self._by_turns.limits.of(group_of(claimed)):
            self._freed.set()

    async def take_held(self) -> None:
        """Take what a limit held back as soon as there is room, until told to stop."""
        await self._may_begin()
        more = True
        while not self._closed:
            with suppress(TimeoutError):
                # Others of these loops may find something held back meanwhile, without a word to this one.
                async with asyncio.timeout(HELD_S if self._by_turns.limits else None):
                    await self._freed.wait()
            if not (self._freed.is_set() or self._by_turns.held or more):
                continue
            self._freed.clear()
            await self._running.has_free()
            self._by_turns.look_again()
            _, more = await self._take(0.0)

    async def _pause(self, seconds: float, *, cut_short: bool) -> None:
        """Sleep; with `cut_short` only until no hints come any more, as when Kafka goes away."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, IDLE_WAIT_S) if cut_short else left)
            if cut_short and (self._idle or not self._reader.connected):
                return

    async def _may_begin(self) -> None:
        """Wait until limits are known. Never return once closed: whoever keeps loops running would start it again."""
        if self._closed:
            await asyncio.Event().wait()
        await self._learnt.wait()

    async def _take(self, older_than_s: float) -> tuple[int, bool]:
        """Take tasks that have been queued for so long; return how many, and whether there may be more."""
        async with self._taking:
            slots = 0 if self._closed else self._running.reserve(self._running.free)
            if slots == 0:
                return 0, True
            more = True

            async def claim() -> list[Claimed]:
                nonlocal more
                claimed, more = await self._by_turns.take(slots, older_than_s)
                return claimed

            try:
                return await self._claimed(claim(), STEAL if older_than_s else TURN), more
            finally:
                self._running.unreserve(slots)
