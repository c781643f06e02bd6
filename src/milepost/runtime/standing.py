"""What a process depends on: whether it works, since when that is so, and what goes on without it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger

log = get_logger("milepost.standing")

LOOK_EVERY_S: Final = 2.0

Check = Callable[[], Awaitable[tuple[bool, str]]]
"""Returns whether the dependency works, and a word on it. Bounded in time, raises nothing."""


class Dependency(NamedTuple):
    """One of them."""

    check: Check
    meanwhile: str
    """What goes on without it, and what waits, for whoever reads that it is away."""


class Standing(NamedTuple):
    """How a dependency is."""

    ok: bool
    detail: str
    since: datetime
    """When it was first seen to be so; true to within `LOOK_EVERY_S` while `Standings.run` runs."""
    meanwhile: str

    def shown(self) -> dict[str, Any]:
        """Return it as `/readyz` shows it."""
        row: dict[str, Any] = {"ok": self.ok, "detail": self.detail, "since": self.since}
        return row if self.ok else row | {"meanwhile": self.meanwhile}


class Standings:
    """Looks at dependencies, remembers since when they are as they are, and logs when that changes."""

    def __init__(self, dependencies: Mapping[str, Dependency]) -> None:
        self._dependencies = dict(dependencies)
        self._last: dict[str, Standing] = {}

    async def look(self) -> dict[str, Standing]:
        """Check all at once."""
        checks = [dependency.check() for dependency in self._dependencies.values()]
        for name, (ok, detail) in zip(self._dependencies, await asyncio.gather(*checks), strict=True):
            self._note(name, ok, detail)
        return dict(self._last)

    @property
    def known(self) -> dict[str, Standing]:
        """How they were when last looked at; empty before the first look."""
        return self._last

    def _note(self, name: str, ok: bool, detail: str) -> None:
        last = self._last.get(name)
        changed = last is None or last.ok != ok
        since = datetime.now(UTC) if last is None or changed else last.since
        meanwhile = self._dependencies[name].meanwhile
        self._last[name] = Standing(ok, detail, since, meanwhile)
        if last is not None and changed:
            if ok:
                log.info("works again", dependency=name, detail=detail)
            else:
                log.warning("does not work", dependency=name, detail=detail, meanwhile=meanwhile)

    async def run(self) -> None:
        """Look every few seconds until cancelled, so that also the first to ask is told since when."""
        while True:
            await self.look()
            await asyncio.sleep(jittered(1, base=LOOK_EVERY_S * 2 / 3, cap=LOOK_EVERY_S * 4 / 3))
