"""How much of a tenant's waits: counted in Postgres a few times a second, never on the way of a task.

Tenants are counted together, unless their count takes long: those are counted by themselves, so that the others do not
have to wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from milepost.domain.quotas import Quotas
from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.store.records import Waiting
from milepost_api.problems import Refusal
from milepost_schemas.problem import ProblemType

LOOK_S: Final = 0.25
PART: Final = 20
"""Counting takes one part of so many of the time at most: who has very much waiting is counted less often."""
TOGETHER: Final = 100
"""Tenants one statement counts …"""
TOGETHER_S: Final = 1.0
"""… in so long. If they take longer, each is counted by itself until it takes no more than its share of that."""
FIRST_S: Final = 1.0
"""The first count of a tenant is waited for so long."""
FIRSTS: Final = 4
ASIDE: Final = 2
"""So many statements at once count tenants for the first time, and those that take long."""
USED_S: Final = 10.0
"""A tenant that submits nothing for so long is not counted any more."""
NOT_STORED: Final = "Nothing new was stored; try again when some are done, with the same idempotency key."
_AGAIN: Final = (b"retry-after", b"5")

Count = Callable[[Sequence[tuple[str, int | None]]], Awaitable[Mapping[str, Waiting]]]
"""(tenant, tasks to count at most) → what waits."""

log = get_logger("milepost.api.backlog")


class _Seen:
    """What waits of one tenant: as it was counted, what was stored since, and what is on its way there."""

    __slots__ = (
        "bytes",
        "coming_bytes",
        "coming_tasks",
        "count_at",
        "counted",
        "counting",
        "most",
        "since_bytes",
        "since_tasks",
        "slow",
        "tasks",
        "used_at",
    )

    def __init__(self, most: int | None, now: float) -> None:
        self.tasks = self.bytes = self.since_tasks = self.since_bytes = self.coming_tasks = self.coming_bytes = 0
        self.most = most
        self.used_at = now
        self.counted = False
        self.slow = False
        """Whether it is counted by itself."""
        self.counting: asyncio.Task[None] | None = None
        """Its first count, or one by itself, that is under way."""
        self.count_at = now

    @property
    def waiting(self) -> Waiting:
        """All of it."""
        return Waiting(
            self.tasks + self.since_tasks + self.coming_tasks, self.bytes + self.since_bytes + self.coming_bytes
        )


class Admitted:
    """Tasks that were let in and are on their way to Postgres: no count has them for sure."""

    __slots__ = ("_seen", "_size", "_tasks")

    def __init__(self, seen: _Seen, tasks: int, size: int) -> None:
        self._seen = seen
        self._tasks = tasks
        self._size = size
        seen.coming_tasks += tasks
        seen.coming_bytes += size

    def settle(self) -> None:
        """Take that they are stored, or are not: whatever is counted from now on knows. To be called once."""
        self._seen.coming_tasks -= self._tasks
        self._seen.coming_bytes -= self._size
        self._seen.since_tasks += self._tasks
        self._seen.since_bytes += self._size


class Backlog:
    """The process's own view. Several processes may together let in a little more: what they take in a moment."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._seen: dict[str, _Seen] = {}
        self._firsts = asyncio.Semaphore(FIRSTS)
        self._aside = asyncio.Semaphore(ASIDE)

    def known(self, tenant: str) -> bool:
        """Whether `admit` can tell; otherwise `look` first."""
        return self.waiting(tenant) is not None

    def waiting(self, tenant: str) -> Waiting | None:
        """Return what waits of a tenant, as far as it was counted; None if it was not."""
        seen = self._seen.get(tenant)
        return seen.waiting if seen is not None and seen.counted else None

    async def look(self, tenant: str, quotas: Quotas) -> None:
        """Count what waits of a tenant that was not counted yet. Raises Unavailable when that takes long, or fails."""
        loop = asyncio.get_running_loop()
        seen = self._seen.get(tenant)
        if seen is None:
            seen = self._seen[tenant] = _Seen(_most(quotas), loop.time())
        seen.used_at = loop.time()
        if not seen.counted and not seen.slow:
            if seen.counting is None:
                seen.counting = loop.create_task(self._count_first(tenant, seen))
            # Together with whoever asks meanwhile, and to the end if the first of them gives up.
            await asyncio.wait({seen.counting})
        if not seen.counted:
            raise Unavailable(
                "What waits of this tenant could not be counted yet, and it has a quota of that. Nothing was done; try "
                "again in a moment."
            )

    def admit(self, tenant: str, quotas: Quotas, size: int, tasks: int = 1, *, otherwise: str = NOT_STORED) -> Admitted:
        """Count tasks in whose payloads have `size` bytes together; `look` was called before.

        Raises Refusal (429) if the tenant has too much waiting; `otherwise` tells people what that means for them.
        """
        now = asyncio.get_running_loop().time()
        seen = self._seen.get(tenant) or _Seen(None, now)  # who has just been forgotten submits next to nothing
        seen.most, seen.used_at = _most(quotas), now
        waiting = seen.waiting
        if quotas.queued is not None and waiting.tasks + tasks > quotas.queued:
            if tasks == 1:
                raise _refusal(f"{quotas.queued:,} tasks of this tenant wait already, as many as may", otherwise)
            raise _refusal(
                f"These are {tasks:,} tasks. With those that wait they would be more than the {quotas.queued:,} "
                "that may wait of this tenant",
                otherwise,
            )
        if quotas.queued_bytes is not None and waiting.bytes + size > quotas.queued_bytes:
            what = "This payload has" if tasks == 1 else f"The payloads of these {tasks:,} tasks have"
            raise _refusal(
                f"{what} {size:,} bytes. With those that wait they would be more than the "
                f"{quotas.queued_bytes:,} bytes that may wait of this tenant",
                otherwise,
            )
        return Admitted(seen, tasks, size)

    async def run(self) -> None:
        """Count again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                self._seen = {
                    name: one
                    for name, one in self._seen.items()
                    if one.counting is not None or began - one.used_at < USED_S
                }
                await self._count_together({n: one for n, one in self._seen.items() if one.counted and not one.slow})
                together_s = loop.time() - began
                for name, one in self._seen.items():
                    if one.slow and one.counting is None and loop.time() >= one.count_at:
                        one.counting = loop.create_task(self._count_alone(name, one))
                await asyncio.sleep(max(LOOK_S, PART * together_s))
        finally:
            for one in self._seen.values():
                if one.counting is not None:
                    one.counting.cancel()

    async def _count_together(self, quick: dict[str, _Seen]) -> None:
        names = list(quick)
        for start in range(0, len(names), TOGETHER):
            part = {name: quick[name] for name in names[start : start + TOGETHER]}
            try:
                async with asyncio.timeout(TOGETHER_S):
                    await self._refresh(part)
            except TimeoutError:
                # One of them, probably: the others come back as soon as they were counted.
                for one in part.values():
                    one.slow = True
            except Unavailable as error:
                log.debug("what waits was not counted", error=str(error))

    async def _count_first(self, tenant: str, seen: _Seen) -> None:
        try:
            async with self._firsts, asyncio.timeout(FIRST_S):
                await self._refresh({tenant: seen})
        except TimeoutError:
            seen.slow = True
        except Unavailable as error:
            log.debug("what waits was not counted", error=str(error))
        finally:
            seen.counting = None

    async def _count_alone(self, tenant: str, seen: _Seen) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with self._aside:
                began = loop.time()
                await self._refresh({tenant: seen})
                seen.slow = loop.time() - began > TOGETHER_S / TOGETHER
        except Unavailable as error:
            log.debug("what waits was not counted", tenant=tenant, error=str(error))
        finally:
            seen.counting = None
            seen.count_at = loop.time() + PART * (loop.time() - began)

    async def _refresh(self, which: dict[str, _Seen]) -> None:
        if not which:
            return
        before = {name: (one.since_tasks, one.since_bytes) for name, one in which.items()}
        counted = await self._count([(name, one.most) for name, one in which.items()])
        for name, one in which.items():
            one.tasks, one.bytes = counted[name]
            one.counted = True
            # What was stored meanwhile may be in the count or not: it counts twice for a moment rather than not at all.
            one.since_tasks -= before[name][0]
            one.since_bytes -= before[name][1]


def _most(quotas: Quotas) -> int | None:
    """Return up to where tasks have to be counted: bytes are in all of them."""
    return quotas.queued if quotas.queued_bytes is None else None


def _refusal(what: str, otherwise: str) -> Refusal:
    return Refusal(ProblemType.QUOTA, f"{what}. {otherwise}", headers=(_AGAIN,))
