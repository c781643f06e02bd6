"""Notices a dead member of the ingest's group before Kafka does, and has it leave.

Kafka waits for the session time-out (10 s) of a member that was killed, also when the only notifier was started again,
and watchers wait with it. A shorter time-out would cost rebalances whenever a broker is slow. So each member says every
half second in Redis that it is alive, where its events go anyhow; one that was silent for some seconds is taken out of
the group by any other. A member that was only slow joins again, and reads again what it had read: that changes nothing.

What beats is a process, under a name that its consumers carry as their client id, and not an id that Kafka gave: one
that dies while it joins, or before it could tell, holds up the group as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from milepost.runtime.logs import get_logger

log = get_logger("milepost.notifier.members")

BEAT_S: Final = 0.5
ALIVE_MS: Final = 2_000
WELL_S: Final = 1.5
"""Redis forgets who is alive while it stands still. Nobody is judged before it has answered for so long."""
_KEPT_S: Final = 86_400


def to_expel(missing_before: set[str], missing_now: set[str], well_s: float) -> set[str]:
    """Return whom to take out: who was missing twice in a row, if Redis has answered us for `well_s` seconds by now."""
    return missing_before & missing_now if well_s >= WELL_S else set()


class Members:
    """Beats for this process, and takes the dead out of the group."""

    def __init__(self, redis: Redis, group: str, member: str, expel: Callable[[str], Awaitable[int]]) -> None:
        """`member` is our name; `expel` takes another out, and returns how many members of the group it was."""
        self._redis: Any = redis
        self._all = f"mp:members:{group}"
        self._member = member
        self._expel = expel

    async def run(self) -> None:
        """Beat and look until cancelled."""
        loop = asyncio.get_running_loop()
        well_since: float | None = None
        missing: set[str] = set()
        while True:
            try:
                now_missing = await self._beat()
            except (RedisError, OSError):
                well_since, missing = None, set()
            else:
                well_since = well_since or loop.time()
                for dead in to_expel(missing, now_missing, loop.time() - well_since):
                    await self._take_out(dead)
                missing = now_missing
            await asyncio.sleep(BEAT_S)

    async def leave(self) -> None:
        """Say that we are gone, so that nobody looks for us."""
        try:
            await self._redis.srem(self._all, self._member)
        except (RedisError, OSError):
            log.debug("Redis is away; the others find out by themselves")

    async def _beat(self) -> set[str]:
        """Say that we are alive; return members that do not."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._key(self._member), "", px=ALIVE_MS)
        pipe.sadd(self._all, self._member)
        pipe.expire(self._all, _KEPT_S)
        pipe.smembers(self._all)
        answers = await pipe.execute()
        others = sorted({name.decode() for name in answers[-1]} - {self._member})
        if not others:
            return set()
        alive = await self._redis.mget([self._key(other) for other in others])
        return {other for other, beat in zip(others, alive, strict=True) if beat is None}

    async def _take_out(self, dead: str) -> None:
        try:
            was = await self._expel(dead)
            await self._redis.srem(self._all, dead)
        except Exception as error:  # noqa: BLE001 - Kafka's own time-out does the same, later
            log.info("could not take a dead member out of the group; Kafka will", member=dead, error=repr(error))
        else:
            if was:
                log.warning("took a dead notifier out of the group; its events go on here", member=dead)

    def _key(self, member: str) -> str:
        return f"{self._all}:{member}"
