"""Answers the look-ups of sessions: attach to the channel, read Redis, and ask Postgres about what Redis lacks."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from milepost.errors import Unavailable
from milepost.live import Channels, Snapshots, View
from milepost.live.connection import ANSWER_S
from milepost.live.snapshots import key_of, view_of_row
from milepost.runtime.logs import get_logger
from milepost_notifier.session import NOT_FOUND, UNAVAILABLE, Lookup, Session
from milepost_notifier.tasks import TaskSource
from milepost_schemas.position import Position

log = get_logger("milepost.notifier.resolver")

BATCH: Final = 100
LANES: Final = 4
"""Batches under way at once, so that one slow answer of Postgres does not hold up everybody's join."""
GIVE_UP_S: Final = 10.0
"""A new subscription that cannot be read for so long is refused; one that was live is tried again for ever."""
RETRY_S: Final = 0.5

Row = tuple[dict[str, Any], Position]
Key = tuple[str, UUID]


class Asker(Protocol):
    """Whoever a session belongs to."""

    session: Session | None


@dataclass(frozen=True, slots=True)
class Ask:
    """One Lookup on its way."""

    who: Asker
    tenant: str
    lookup: Lookup
    began: float

    @property
    def key(self) -> Key:
        """The task asked for."""
        return self.tenant, self.lookup.task


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
        self._wake = asyncio.Event()

    def ask(self, ask: Ask) -> None:
        """Take a look-up; the session gets `joined` or `refused`."""
        self._waiting.append(ask)
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
        try:
            views = await self._views(batch)
        except Unavailable:
            self._postpone(batch)
            return
        except Exception:
            log.exception("look-ups failed and are tried again")
            self._postpone(batch)
            return
        now = asyncio.get_running_loop().time()
        for ask in batch:
            session = ask.who.session
            if session is None:
                continue
            view = views.get(ask.key)
            if view is None:
                session.refused(ask.lookup.sub, ask.lookup.join, *NOT_FOUND)
            else:
                session.joined(ask.lookup.sub, ask.lookup.join, view, now)
            self._answered(ask.who)

    def _postpone(self, batch: list[Ask]) -> None:
        loop = asyncio.get_running_loop()
        for ask in batch:
            session = ask.who.session
            if session is None:
                continue
            if ask.lookup.fresh and loop.time() - ask.began > GIVE_UP_S:
                session.refused(ask.lookup.sub, ask.lookup.join, *UNAVAILABLE)
                self._answered(ask.who)
            else:
                loop.call_later(RETRY_S, self.ask, ask)

    async def _views(self, batch: list[Ask]) -> dict[Key, View]:
        """Return what is known of the tasks asked for. Raises Unavailable if that cannot be said."""
        since: dict[Key, Position | None] = {}
        for ask in batch:
            asked, known = ask.lookup.since, since.get(ask.key)
            since[ask.key] = asked if known is None else min(known, asked or known)
        try:
            await self._channels.watch([key_of(*key) for key in since], timeout=ANSWER_S)
            views = await self._read(since)
        except Unavailable:
            # No Redis: show what Postgres has. Events follow when it is back, for then everything is audited.
            rows = await rows_of(self._source, since)
            return {key: view_of_row(*row) for key, row in rows.items()}
        lacking = [key for key in since if key not in views or not views[key].complete]
        if not lacking:
            return views
        try:
            rows = await rows_of(self._source, lacking)
        except Unavailable:
            if any(key not in views for key in lacking):
                raise
            return views  # better a snapshot with a gap than none; the audit mends it
        if rows:
            await self._snapshots.seed_many([(tenant, *row) for (tenant, _), row in rows.items()])
            views |= await self._read({key: since[key] for key in rows})
        return views

    async def _read(self, since: dict[Key, Position | None]) -> dict[Key, View]:
        found = await self._snapshots.read_many([(*key, position) for key, position in since.items()])
        return {key: view for key, view in zip(since, found, strict=True) if view is not None}
