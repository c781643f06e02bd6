"""The window of a process: hints go while there is room by its own view, and are withheld beyond it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from milepost.domain.window import Account, Room
from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger

log = get_logger("milepost.window")

APART_S: Final = 0.025
"""Between two questions at least; while nobody runs out of room none is asked."""
WITHHELD_S: Final = 0.1
"""While hints are withheld it is asked this often whether they may go; one of each queue goes each time."""
PAIRS: Final = 200
"""One question is about so many at most."""
REMEMBERED: Final = 10_000
"""Beyond so many accounts those with room are forgotten: they begin anew with some."""

Pair = tuple[str, str]
"""(tenant, queue)."""
H = TypeVar("H")


Ask = Callable[[Sequence[Pair]], Awaitable[Mapping[Pair, Room]]]


class Window(Generic[H]):
    """Lets hints go, now or later, or drops them."""

    def __init__(self, ask: Ask, send: Callable[[H, bool], None]) -> None:
        """`ask` counts what waits of each pair. `send(hint, more)` sends one; `more`: others may wait without hints."""
        self._ask = ask
        self._send = send
        self._accounts: dict[Pair, Account[H]] = {}
        self._wanted: dict[Pair, None] = {}
        self._some = asyncio.Event()

    def offer(self, pair: Pair, hint: H) -> None:
        """Let a hint go now, or when there is room again. Never waits."""
        account = self._accounts.get(pair)
        if account is None:
            if len(self._accounts) >= REMEMBERED:
                self._accounts = {pair: each for pair, each in self._accounts.items() if each.withholds or each.low}
            account = self._accounts[pair] = Account()
        if account.admits(hint):
            self._send(hint, account.pressed)
        if account.low:
            self._wanted[pair] = None
            self._some.set()

    async def run(self) -> None:
        """Ask for room where it runs out, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            wanted, self._wanted = list(self._wanted), {}
            try:
                told_of: set[str] = set()
                for start in range(0, len(wanted), PAIRS):
                    await self._look(wanted[start : start + PAIRS], told_of)
            except Unavailable as error:
                log.debug("room in queues was not counted", error=str(error))
                self._wanted = dict.fromkeys([*wanted, *self._wanted])
            await asyncio.sleep(WITHHELD_S if self._wanted else APART_S)
            if self._wanted:
                self._some.set()

    async def _look(self, pairs: Sequence[Pair], told_of: set[str]) -> None:
        """Ask about some pairs; `told_of`: queues of which one went this round; it leads to all who wait there."""
        # One that was told may be forgotten since: of several questions a later one found the database away.
        accounts = {pair: account for pair in pairs if (account := self._accounts.get(pair)) is not None}
        if not accounts:
            return
        for account in accounts.values():
            account.asked()
        rooms = await self._ask(list(accounts))
        for pair, account in accounts.items():
            for hint in account.told(*rooms[pair]):
                self._send(hint, account.pressed)
            if account.withholds and pair[1] not in told_of:
                told_of.add(pair[1])
                self._send(account.newest(), account.pressed)
            if account.withholds:
                self._wanted[pair] = None
