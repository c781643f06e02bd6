"""Asks Postgres for the children of tasks whose trees are watched, many in one statement.

Nobody's join waits for it: a task is shown first, then its children are asked for. By then its channel is attached, so
a child made later is told there, and one made before is found here. While Postgres is away nothing is asked twice:
the audit asks again for the children of every task that is watched as a tree.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final
from uuid import UUID

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost_notifier.resolver import Asker, Key
from milepost_notifier.tasks import TaskSource
from milepost_schemas.position import Position

log = get_logger("milepost.notifier.descent")

PARENTS: Final = 500
"""Tasks whose children are asked for in one statement."""
GATHER_S: Final = 0.005
TOLD_AT_ONCE: Final = 50
"""After so many sessions others have their turn."""


class Descent:
    """Gathers questions for children. What a thousand clients ask of one task is asked once."""

    def __init__(self, source: TaskSource, limit: int, answered: Callable[[Asker], None]) -> None:
        """`limit` is how many children of one task matter: one more than are told of, to see that there are more."""
        self._source = source
        self._limit = limit
        self._answered = answered
        self._waiting: dict[Key, list[tuple[Asker, int]]] = {}
        self._wake = asyncio.Event()

    def ask(self, key: Key, who: Asker, question: int) -> None:
        """Take a question; the session gets `children`, unless Postgres is away."""
        self._waiting.setdefault(key, []).append((who, question))
        self._wake.set()

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            some = {key: self._waiting.pop(key) for key in tuple(islice(self._waiting, PARENTS))}
            if not self._waiting:
                self._wake.clear()
            try:
                await self._answer(some)
            except Unavailable as error:
                log.warning("children of tasks were not asked for; the next audit does", error=str(error))
                self._waiting.clear()
                self._wake.clear()
            except Exception:
                log.exception("children of tasks were not asked for; the next audit does")

    async def _answer(self, questions: dict[Key, list[tuple[Asker, int]]]) -> None:
        found: dict[Key, list[tuple[UUID, Position]]] = {}
        for child in await self._source.children(list(questions), self._limit):
            found.setdefault((child.tenant, child.parent), []).append((child.id, child.at))
        now = asyncio.get_running_loop().time()
        told = 0
        for key, askers in questions.items():
            children = found.get(key, [])
            for who, question in askers:
                if who.session is None:
                    continue
                who.session.children(question, children, now)
                if not children:
                    continue
                self._answered(who)
                told += 1
                if told % TOLD_AT_ONCE == 0:
                    await asyncio.sleep(0)
