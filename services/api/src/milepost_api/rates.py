"""Requests a tenant may make: a bucket in Redis for all instances, taken from by handfuls."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from milepost.domain.quotas import Quotas
from milepost.errors import Unavailable
from milepost.live.buckets import Buckets, Taken
from milepost.runtime.logs import get_logger
from milepost_api.problems import Refusal
from milepost_schemas.problem import ProblemType

ANSWER_S: Final = 0.25
"""Redis is waited for so long, then it counts as away."""
AWAY_S: Final = 1.0
"""While it is away it is asked this often, and everybody is let in."""
AHEAD_S: Final = 0.1
"""So much is taken at once as this process needs for this long: ten calls a second, however many requests there are."""
HELD_S: Final = 0.5
"""What was taken and is not used by then is forgotten."""
NONE_S: Final = 1.0
"""Who was refused is refused again for so long without asking: who does not stop costs nothing."""
SHARE: Final = 10
"""No process takes more than one part of so many of a bucket ahead."""
_NAME: Final = b'"requests"'
_TENANTS_MOST: Final = 10_000

Header = tuple[bytes, bytes]

log = get_logger("milepost.api.rates")


class _Handful:
    """What this process has of one tenant's bucket."""

    __slots__ = (
        "asked_at",
        "asking",
        "count",
        "good_until",
        "left",
        "none_until",
        "quotas",
        "room_at",
        "since",
        "waiting",
    )

    def __init__(self, quotas: Quotas, now: float) -> None:
        self.quotas = quotas
        self.count = 0
        self.good_until = now
        self.none_until = now
        """Until then nobody asks: there was nothing a moment ago."""
        self.room_at = now
        self.left = 0
        self.since = 0
        """Requests since the bucket was asked last."""
        self.asked_at = now
        self.waiting: list[asyncio.Future[bool]] = []
        self.asking: asyncio.Task[None] | None = None

    def wanted(self, now: float, most: int) -> int:
        """Return how many to ask for: for those who wait, and for those who will have come soon at this pace."""
        soon = self.since / max(now - self.asked_at, AHEAD_S) * AHEAD_S
        return len(self.waiting) + min(int(soon), most)

    def leave(self) -> int:
        """Return how many requests are left, as far as this process knows."""
        return self.left + self.count


class Rates:
    """Counts requests. While Redis is away everybody is let in: a limit is no reason to refuse all work."""

    def __init__(self, buckets: Buckets, clock: Callable[[], float] | None = None) -> None:
        """`clock` is the running loop's unless given."""
        self._buckets = buckets
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._handfuls: dict[str, _Handful] = {}
        self._away_until: float | None = None

    async def admit(self, tenant: str, quotas: Quotas) -> tuple[Header, ...]:
        """Count one request; return the headers that say what is left. Raises Refusal (429)."""
        size = quotas.requests
        if size is None:
            return ()
        now = self._clock()
        handful = self._handfuls.get(tenant)
        if handful is None or handful.quotas is not quotas:
            handful = self._new(tenant, quotas, now)
        handful.since += 1
        if handful.count > 0 and now < handful.good_until:
            handful.count -= 1
        elif now < handful.none_until:
            raise _refusal(quotas, size, handful.room_at - now)
        elif self._away_until is not None and now < self._away_until:
            return ()
        elif not await self._asked(tenant, handful, size, quotas.requests_per):
            raise _refusal(quotas, size, handful.room_at - self._clock())
        elif self._away_until is not None:
            return ()
        return _headers(quotas, size, handful.leave())

    def left(self, tenant: str, quotas: Quotas) -> int | None:
        """Return how many requests are left of those that were admitted from; None without a quota, or if unknown."""
        handful = self._handfuls.get(tenant)
        if handful is None or handful.quotas is not quotas or quotas.requests is None or self._away_until is not None:
            return None
        return max(handful.leave(), 0)

    async def _asked(self, tenant: str, handful: _Handful, size: int, per: float) -> bool:
        """Ask the bucket, together with whoever comes while it is being asked; return whether this one is let in."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[bool] = loop.create_future()
        handful.waiting.append(mine)
        if handful.asking is None:
            handful.asking = loop.create_task(self._ask(tenant, handful, size, per))
        return await mine

    async def _ask(self, tenant: str, handful: _Handful, size: int, per: float) -> None:
        while handful.waiting:
            now = self._clock()
            wanted = handful.wanted(now, size // SHARE)
            asking, handful.waiting = handful.waiting, []
            handful.since, handful.asked_at = 0, now
            taken = await self._take(tenant, size, per, wanted)
            if taken is None:
                _answer(asking, len(asking))
                continue
            now = self._clock()
            handful.left = taken.left
            handful.count = max(0, taken.granted - len(asking))
            handful.good_until = now + HELD_S
            if taken.granted < len(asking):
                handful.room_at = now + taken.wait
                handful.none_until = now + min(taken.wait, NONE_S)
            _answer(asking, taken.granted)
        handful.asking = None

    async def _take(self, tenant: str, size: int, per: float, wanted: int) -> Taken | None:
        """Return what the bucket gave; None while Redis is away."""
        try:
            async with asyncio.timeout(ANSWER_S):
                taken = await self._buckets.take(tenant, size, per, wanted)
        except Exception as error:
            if not isinstance(error, (Unavailable, TimeoutError)):
                log.exception("requests cannot be counted")
            if self._away_until is None:
                log.warning("Redis is away: requests are not limited until it is back")
            self._away_until = self._clock() + AWAY_S
            return None
        if self._away_until is not None:
            log.info("Redis is back: requests are limited again")
            self._away_until = None
        return taken

    def _new(self, tenant: str, quotas: Quotas, now: float) -> _Handful:
        if len(self._handfuls) >= _TENANTS_MOST:
            self._handfuls = {name: one for name, one in self._handfuls.items() if one.asking is not None}
        handful = self._handfuls[tenant] = _Handful(quotas, now)
        return handful


def _answer(asking: list["asyncio.Future[bool]"], count: int) -> None:
    """Let in the first so many who still wait."""
    for mine in asking:
        if not mine.done():
            mine.set_result(count > 0)
            count -= 1


def _headers(quotas: Quotas, size: int, left: int) -> tuple[Header, ...]:
    """Return what draft-ietf-httpapi-ratelimit-headers says of a bucket: size, time to fill, what is left of it."""
    full_in = math.ceil((size - left) * quotas.requests_per / size)
    return (_policy(quotas, size), (b"ratelimit", b"%b;r=%d;t=%d" % (_NAME, max(left, 0), max(full_in, 0))))


def _policy(quotas: Quotas, size: int) -> Header:
    return (b"ratelimit-policy", b"%b;q=%d;w=%d" % (_NAME, size, math.ceil(quotas.requests_per)))


def _refusal(quotas: Quotas, size: int, wait: float) -> Refusal:
    seconds = max(1, math.ceil(wait))
    detail = (
        f"This tenant may make {size:,} requests in {quotas.requests_per:g} s, and has. Nothing was done; try again in "
        f"{seconds} s."
    )
    now = (b"ratelimit", b"%b;r=0;t=%d" % (_NAME, seconds))
    headers = ((b"retry-after", b"%d" % seconds), _policy(quotas, size), now)
    return Refusal(ProblemType.TOO_MANY, detail, headers=headers)
