"""The audit of an edge: nobody is left behind by what got lost on its way."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from milepost.errors import Unavailable
from milepost.live import Snapshots, Standing
from milepost.live.snapshots import is_finished
from milepost.runtime.logs import get_logger
from milepost_notifier.descent import TOLD_AT_ONCE
from milepost_notifier.peer import Peer
from milepost_notifier.resolver import Key, rows_of
from milepost_notifier.tasks import TaskSource
from milepost_notifier.watching import Watched, Watching
from milepost_schemas.position import Position

log = get_logger("milepost.notifier.audit")


class Audit:
    """Compares every subscription with Redis, and what is quiet or unknown there with Postgres.

    So nobody is left behind by a lost message, a lost channel, a failover, FLUSHALL, or by events that never
    reached Kafka.
    """

    def __init__(
        self,
        watching: Watching,
        snapshots: Snapshots,
        source: TaskSource,
        peers: Collection[Peer],
        serve: Callable[[Peer], None],
        quiet_s: float,
    ) -> None:
        """`peers`: the clients there are, as they come and go. A task without news for `quiet_s` seconds is quiet."""
        self._watching = watching
        self._snapshots = snapshots
        self._source = source
        self._peers = peers
        self._serve = serve
        self._quiet_s = quiet_s
        self._running = asyncio.Lock()

    async def run(self) -> None:
        """Compare once; one after the other, whoever asks."""
        async with self._running:
            watched = self._watching.all()
            if not watched:
                return
            now = asyncio.get_running_loop().time()
            standings = await self._standings([each.key for each in watched])
            doubtful: dict[Key, Watched] = {}
            for each in watched:
                standing = standings.get(each.key)
                if standing is not None:
                    self._resync(each, standing.at, finished=standing.finished)
                if standing is None or not standing.complete or now - each.news_at >= self._quiet_s:
                    doubtful[each.key] = each
            if doubtful:
                await self._ask_owner(doubtful, standings)
            await self._descend()

    async def _descend(self) -> None:
        """Have every session ask for the children of what it tells as a tree."""
        for number, connection in enumerate(tuple(self._peers), start=1):
            if connection.session is not None:
                connection.session.descend()
                self._serve(connection)
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _standings(self, keys: list[Key]) -> dict[Key, Standing]:
        try:
            found = await self._snapshots.positions(keys)
        except Unavailable:
            return {}
        return {key: standing for key, standing in zip(keys, found, strict=True) if standing is not None}

    async def _ask_owner(self, doubtful: dict[Key, Watched], standings: dict[Key, Standing]) -> None:
        try:
            rows = await rows_of(self._source, doubtful)
        except Unavailable as error:
            log.warning("quiet tasks were not compared with Postgres; the next audit tries again", error=str(error))
            return
        seeds: list[tuple[str, dict[str, Any], Any]] = []
        for key, (task, at) in rows.items():
            known = standings.get(key)
            if known is None or not known.complete or at > known.at or (is_finished(task) and not known.finished):
                seeds.append((key[0], task, at))
        try:
            if seeds:
                await self._snapshots.seed_many(seeds)
        except Unavailable:
            pass  # the resolver shows what Postgres has
        for key, (task, at) in rows.items():
            known = standings.get(key)
            gap = known is not None and not known.complete
            self._resync(doubtful[key], at, finished=is_finished(task), force=gap)
        for key in doubtful.keys() - rows.keys() - standings.keys():
            # It was deleted, long after its end, which so was lost: a look finds nothing, and says so.
            self._resync(doubtful[key], Position(0, 0), finished=True)

    def _resync(self, watched: Watched, at: Any, *, finished: bool, force: bool = False) -> None:
        for connection in tuple(watched.watchers):
            if connection.session is not None:
                connection.session.resync(watched.key[1], at, finished=finished, force=force)
                self._serve(connection)
