"""Handlers that go on when their attempt is over: threads that do not look, coroutines that swallow cancellation."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from milepost.runtime.logs import get_logger
from milepost.tasks.definition import TaskDefinition

log = get_logger("milepost.worker.leftovers")


class Leftovers:
    """Counts them and says so. `freed` is called when one ends after all."""

    def __init__(self, freed: Callable[[], None]) -> None:
        self._freed = freed
        self._numbers = itertools.count()
        self._left: dict[int, str] = {}

    def add(self, definition: TaskDefinition, finished: asyncio.Future[Any]) -> None:
        """Count a handler whose task goes on without it."""
        number = next(self._numbers)
        began = asyncio.get_running_loop().time()
        self._left[number] = definition.origin

        def over(_: object) -> None:
            del self._left[number]
            seconds = round(asyncio.get_running_loop().time() - began, 1)
            log.info("a handler ended after all", handler=definition.origin, late_s=seconds, left=len(self._left))
            self._freed()

        finished.add_done_callback(over)
        log.warning(
            "the handler does not end; its task goes on without it, its slot stays taken",
            handler=definition.origin,
            left=len(self._left),
            advice="a handler that must be stoppable belongs in isolation='process'; only a restart frees this one",
        )

    def __len__(self) -> int:
        return len(self._left)
