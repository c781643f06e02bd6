"""Claiming by turns: looks who waits, shares out slots, takes. One of these in each worker."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from milepost.domain.limits import Limit, Limits
from milepost.domain.turns import Group, Turns
from milepost.store.limits import Limited, group_of
from milepost.store.records import Claimed
from milepost.store.waiting import Seen

TENANTS: Final = 64
GROUPS: Final = 64
"""So many tenants of a queue are seen by one look, and so many groups of one; a later look goes on behind them."""
TENANTS_IN_ALL: Final = 256
GROUPS_IN_ALL: Final = 1_024
"""Where there are many queues or tenants it is fewer of each, so that a look stays one of some milliseconds."""
FRESH_S: Final = 0.1
"""What was seen is believed for so long: who takes a slot at a time need not look each time."""


class Taken(NamedTuple):
    """`more`: there may be tasks left that could have been taken."""

    claimed: list[Claimed]
    more: bool


class ByTurns:
    """Takes tasks of some queues and types for a worker, whoever submitted them and whether or not there are hints."""

    def __init__(
        self, store: Limited, worker: UUID, lease_s: float, queues: Sequence[str], types: Sequence[str]
    ) -> None:
        self._store = store
        self._worker = worker
        self._lease_s = lease_s
        self._types = list(types)
        self._turns = Turns()
        self._page: dict[str, str | None] = dict.fromkeys(queues)
        """Behind which tenant of each queue the page begins that is looked at now; None: with the first."""
        self._next_page = self._page
        self._due: set[tuple[str, str]] = set()
        """Those of the page that have not had their turn: until then it is looked at again."""
        self._behind: list[Group] = []
        self._seen: dict[Group, float] = {}
        """Groups of our types, each with the instant (monotonic) since when its oldest has waited."""
        self._looked_at = -math.inf
        self._whole = False
        self._limits = Limits()
        self.held: dict[Group, Limit | None] = {}
        """Groups of the last look that a limit held back when they were tried; None: somebody else claimed under it
        at that moment."""

    @property
    def limits(self) -> Limits:
        """What tasks are held back by. Whoever reads them from Postgres sets them here."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self.held = {}
        self.look_again()

    def look_again(self) -> None:
        """Believe nothing that was seen: a place under a limit may be free."""
        self._looked_at = -math.inf

    async def take(self, slots: int, older_than_s: float = 0.0) -> Taken:
        """Claim up to `slots` tasks that have been queued for so long. Raises Unavailable: some may be claimed or none.

        `more` is False only when a look that began after this call saw everything there is, and what could be taken of
        it was: a task that was committed before the call is then taken, or being taken by somebody else.
        """
        began = time.monotonic()
        if self._turns_page or began - self._looked_at > FRESH_S or not self._eligible(older_than_s):
            await self._look()
        claimed = await self._take(self._eligible(older_than_s), slots, older_than_s)
        left = len(claimed) == slots or bool(self._eligible(older_than_s))
        if not left:
            self._due.clear()
        return Taken(claimed, more=left or not self._whole or self._looked_at < began)

    @property
    def _turns_page(self) -> bool:
        """Whether all tenants of this page had their turn and there are other pages."""
        return not self._due and (any(self._page.values()) or any(self._next_page.values()))

    def _eligible(self, older_than_s: float) -> list[Group]:
        since = time.monotonic() - older_than_s
        old = [group for group, waits_since in self._seen.items() if waits_since <= since]
        if not self._limits:
            return old
        return [group for group in old if self._limits.pause(group.queue, group.tenant) is None]

    async def _take(self, groups: Sequence[Group], slots: int, older_than_s: float) -> list[Claimed]:
        shares = self._turns.share(groups, slots)
        # One statement a call, or what the first brought would be lost with the second: first those who are next.
        limited = bool(shares and self._limits.of(shares[0].group))
        shares = [share for share in shares if bool(self._limits.of(share.group)) == limited]
        if limited:
            claimed, held = await self._store.take_within(
                self._worker, self._lease_s, shares, older_than_s, self._limits
            )
            tried = {share.group for share in shares}
            self.held = {group: limit for group, limit in self.held.items() if group not in tried} | held
        else:
            claimed = await self._store.take(self._worker, self._lease_s, shares, older_than_s)
        got = Counter(group_of(task) for task in claimed)
        for group, count in shares:
            self._due.discard((group.queue, group.tenant))
            if got[group] < count:
                self._seen.pop(group, None)
        lines = {group[:3] for group in self._seen}
        if any(each[:3] not in lines for each in self._behind):
            self._looked_at = -math.inf  # there are more behind those that were seen, which should not miss their turn
        # Where all were held back they had their turn: others need not wait for them each time. Where one got a place,
        # those who did not are next.
        self._turns.served([group for group, _ in shares if group in got or (limited and not got)])
        return claimed

    async def _look(self) -> None:
        turned = not self._due
        if turned:
            self._page = self._next_page
        began = time.monotonic()
        tenants_seen = max(1, min(TENANTS, TENANTS_IN_ALL // max(1, len(self._page))))
        seen = await self._see(tenants_seen)
        lines = {each.group[:3] for each in seen}
        if any(each[:3] not in lines for each in self._behind):
            # Nothing is behind some of those any more: they begin again, and miss no turn by that.
            self._behind = [each for each in self._behind if each[:3] in lines]
            seen = await self._see(tenants_seen)
        self._looked_at = began
        self._seen = {each.group: began - each.age_s for each in seen if each.known}
        self.held = {group: limit for group, limit in self.held.items() if group in self._seen}
        tenants = {(group.queue, group.tenant) for group in self._eligible(0.0)}
        self._due = tenants if turned else self._due & tenants
        first = not any(self._page.values()) and not self._behind
        self._find_ends(seen, tenants_seen)
        self._whole = first and not any(self._next_page.values()) and not self._behind

    async def _see(self, tenants: int) -> list[Seen]:
        return await self._store.waiting(self._page, self._types, tenants, GROUPS, GROUPS_IN_ALL, self._behind)

    def _find_ends(self, seen: Sequence[Seen], tenants: int) -> None:
        """Note where the next look goes on: behind what this one saw, where that was as much as it could; else anew."""
        last = {each.group.queue: each.group.tenant for each in seen if each.place == tenants}
        self._next_page = {queue: last.get(queue) for queue in self._page}
        self._behind = [each.group for each in seen if each.last]
