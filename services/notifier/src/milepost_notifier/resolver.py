"""Answers the look-ups of sessions: attach to the channel, read Redis, and ask Postgres about what Redis lacks.

Who submits a task and watches it at once is here before the task's first event, which takes some ten milliseconds. So a
first look-up of a young task that Redis does not know waits a moment before Postgres is asked: usually the event comes,
holds the whole task, and answers the session by itself (`Session.event`). Nothing can be missed by that: the channel
was attached before Redis was read, so whatever Redis learns after it had nothing is delivered, and kept by the session
until the look-up is answered.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from pydantic_core import from_json

from milepost.errors import Unavailable
from milepost.live import Channels, Snapshots, View
from milepost.live.connection import ANSWER_S
from milepost.live.snapshots import Wanted, key_of, view_of_row
from milepost.runtime.logs import get_logger
from milepost_notifier.following import FORBIDDEN
from milepost_notifier.intents import Lookup
from milepost_notifier.session import NOT_FOUND, UNAVAILABLE, Session
from milepost_notifier.tasks import TaskSource
from milepost_schemas.position import Position

log = get_logger("milepost.notifier.resolver")

BATCH: Final = 100
LANES: Final = 4
"""Batches under way at once, so that one slow answer of Postgres does not hold up everybody's join."""
GIVE_UP_S: Final = 10.0
"""A new subscription that cannot be read for so long is refused; one that was live is tried again for ever."""
RETRY_S: Final = 0.5
GATHER_S: Final = 0.002
"""Look-ups wait so long for others to go with them."""
AWAIT_S: Final = 0.1
"""Postgres is asked so much later about a task that may be on its way to Redis."""
YOUNG_S: Final = 10.0
"""A task is waited for if it is no older, by the time in its id. Clocks that differ cost a wait, or a question."""

Row = tuple[dict[str, Any], Position]
Key = tuple[str, UUID]


class Asker(Protocol):
    """Whoever a session belongs to."""

    session: Session | None


@dataclass(slots=True)
class Ask:
    """One Lookup on its way."""

    who: Asker
    tenant: str
    lookup: Lookup
    began: float
    waited: bool = False
    """Redis did not know the task when its channel was attached, and has had its moment since."""
    forbidden: bool = False
    """The asker's token does not cover the task."""
    unclear: bool = False
    """Postgres would have to say what there is of the task, or if the token covers it, and does not answer."""

    @property
    def key(self) -> Key:
        """The task asked for."""
        return self.tenant, self.lookup.task

    @property
    def wanted(self) -> bool:
        """Whether the session still needs the answer."""
        session = self.who.session
        return session is not None and session.wants(self.lookup.join)

    def may_wait(self, now: float) -> bool:
        """Whether it is the first look at a task made only now; `now` is the time of day."""
        made_at = (self.lookup.task.int >> 80) / 1000  # UUIDv7; any other id is of no age that matters
        return self.lookup.fresh and self.lookup.since is None and abs(now - made_at) < YOUNG_S


async def rows_of(source: TaskSource, keys: Iterable[Key]) -> dict[Key, Row]:
    """Read tasks from Postgres, one statement for each tenant: a row must never be taken for another tenant's."""
    by_tenant: dict[str, list[Key]] = {}
    for key in keys:
        by_tenant.setdefault(key[0], []).append(key)
    rows: dict[Key, Row] = {}
    for tenant, pairs in by_tenant.items():
        for task, at in await source.task_views(pairs):
            rows[tenant, UUID(str(task["id"]))] = (task, at)
    return rows


class Resolver:
    """Gathers look-ups and answers them in batches: what a thousand clients ask of one task is read once."""

    def __init__(
        self, channels: Channels, snapshots: Snapshots, source: TaskSource, answered: Callable[[Asker], None]
    ) -> None:
        self._channels = channels
        self._snapshots = snapshots
        self._source = source
        self._answered = answered
        self._waiting: list[Ask] = []
        self._gathering = False
        self._wake = asyncio.Event()

    def ask(self, ask: Ask) -> None:
        """Take a look-up; the session gets `joined` or `refused`."""
        self._waiting.append(ask)
        if not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self._wake.set()

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(self._lane())

    async def _lane(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._wake.clear()
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: list[Ask]) -> None:
        batch = [ask for ask in batch if ask.wanted]
        if not batch:
            return
        try:
            views, awaited, unsaid = await self._views(batch)
            for ask in batch:
                ask.unclear = ask.key in unsaid
            await self._judge([ask for ask in batch if not ask.unclear], views)
        except Unavailable:
            self._postpone(batch)
            return
        except Exception:
            log.exception("look-ups failed and are tried again")
            self._postpone(batch)
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        later: list[Ask] = []
        unclear: list[Ask] = []
        concerned: dict[Asker, None] = {}
        for ask in batch:
            if ask.key in awaited:
                ask.waited = True
                later.append(ask)
            elif ask.unclear:
                unclear.append(ask)
            else:
                _settle(ask, views.get(ask.key), now)
                concerned[ask.who] = None
        for who in concerned:
            self._answered(who)
        self._postpone(unclear)
        if later:
            loop.call_later(AWAIT_S, self._ask_all, later)

    async def _judge(self, asks: list[Ask], views: dict[Key, View]) -> None:
        """Find out whose token does not cover what they ask for, or of whom that cannot be said now.

        Such a client is not told whether there is a task of that id.
        """
        above: dict[str, list[tuple[Ask, tuple[UUID, UUID]]]] = {}
        for ask in asks:
            grant, view = ask.lookup.grant, views.get(ask.key)
            if grant is None:
                continue
            covered = False if view is None else grant.covers_members(from_json(view.task))
            ask.forbidden = covered is False
            if covered is None and grant.task is None:
                ask.unclear = True  # Redis does not know the labels, and Postgres did not say
            if covered is None and grant.task is not None:
                above.setdefault(ask.tenant, []).append((ask, (ask.lookup.task, grant.task)))
        for tenant, pairs in above.items():
            try:
                found = await self._source.descendants_among(tenant, [pair for _, pair in pairs])
            except Unavailable:
                found = None
            for ask, pair in pairs:
                ask.unclear = found is None
                ask.forbidden = found is not None and pair not in found

    def _ask_all(self, asks: list[Ask]) -> None:
        self._waiting += asks
        self._wake.set()

    def _postpone(self, batch: list[Ask]) -> None:
        loop = asyncio.get_running_loop()
        for ask in batch:
            session = ask.who.session
            if session is None:
                continue
            if ask.lookup.fresh and loop.time() - ask.began > GIVE_UP_S:
                session.refused(ask.lookup.join, *UNAVAILABLE)
                self._answered(ask.who)
            else:
                loop.call_later(RETRY_S, self.ask, ask)

    async def _views(self, batch: list[Ask]) -> tuple[dict[Key, View], set[Key], set[Key]]:
        """Return what is known of tasks, which may be on their way to Redis, and which only Postgres could tell of.

        Raises Unavailable if nobody can tell of any.
        """
        wanted: dict[Key, Wanted] = {}
        waited, hurried = set(), set()
        now = time.time()
        for ask in batch:
            wanted[ask.key] = _also(wanted.get(ask.key), ask)
            if ask.waited:
                waited.add(ask.key)
            elif not ask.may_wait(now):
                hurried.add(ask.key)
        try:
            await self._channels.watch([key_of(*key) for key in wanted], timeout=ANSWER_S)
            views = await self._read([each for key, each in wanted.items() if key not in waited])
        except Unavailable:
            # No Redis: show what Postgres has. Events follow when it is back, for then everything is audited.
            rows = await rows_of(self._source, wanted)
            return {key: view_of_row(*row) for key, row in rows.items()}, set(), set()
        awaited = wanted.keys() - views.keys() - waited - hurried
        lacking = [key for key in wanted if (key not in views or not views[key].complete) and key not in awaited]
        if not lacking:
            return views, awaited, set()
        try:
            rows = await rows_of(self._source, lacking)
        except Unavailable:
            # Better a snapshot with a gap than none; the audit mends it.
            return views, awaited, set(lacking) - views.keys()
        return views | await self._seeded(rows, wanted), awaited, set()

    async def _seeded(self, rows: dict[Key, Row], wanted: dict[Key, Wanted]) -> dict[Key, View]:
        """Put rows into Redis and return the views of them.

        Where the snapshot moved it is the row, so nothing is read again; what came since is on the channel. Where it
        did not, events got further. Who comes back wants the history too, and some what was streamed.
        """
        moved = await self._snapshots.seed_many([(tenant, *row) for (tenant, _), row in rows.items()])
        as_it_is = {key for key, took in zip(rows, moved, strict=True) if took and wanted[key] == Wanted(*key)}
        views = {key: view_of_row(*rows[key]) for key in as_it_is}
        return views | await self._read([wanted[key] for key in rows if key not in as_it_is])

    async def _read(self, wanted: Sequence[Wanted]) -> dict[Key, View]:
        if not wanted:
            return {}
        found = await self._snapshots.read_many(wanted)
        return {(each.tenant, each.task): view for each, view in zip(wanted, found, strict=True) if view is not None}


def _also(wanted: Wanted | None, ask: Ask) -> Wanted:
    """Return what to read for an ask beside others of the same task: from the earliest position, the longest tail."""
    asked = ask.lookup
    if wanted is None:
        return Wanted(ask.tenant, asked.task, asked.since, asked.tail)
    since = asked.since if wanted.since is None else min(wanted.since, asked.since or wanted.since)
    return wanted._replace(since=since, tail=max(wanted.tail, asked.tail))


def _settle(ask: Ask, view: View | None, now: float) -> None:
    """Give a session its answer, unless the client is gone."""
    session = ask.who.session
    if session is None:
        return
    if ask.forbidden:
        session.refused(ask.lookup.join, *FORBIDDEN)
    elif view is None:
        session.refused(ask.lookup.join, *NOT_FOUND)
    else:
        session.joined(ask.lookup.join, view, now)
