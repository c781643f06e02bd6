"""Statements about what services log from. Satisfies milepost.runtime.loglevels.LevelSource."""

from collections.abc import Sequence

from milepost.runtime.loglevels import Other
from milepost.store.store import Store

SERVICES = ("api", "worker", "notifier")


class LogLevels(Store):
    """The store's statements, and those about levels."""

    async def level_of(self, service: str) -> Other | None:
        """Return from what level a service logs now; None: from that of its settings."""
        rows = await self._fetch("log_level", service)
        return Other(rows[0]["level"], rows[0]["left_s"]) if rows else None

    async def levels(self) -> dict[str, Other]:
        """Return those of all services that do not go by their settings now."""
        return {row["service"]: Other(row["level"], row["left_s"]) for row in await self._fetch("log_levels")}

    async def set_level(self, services: Sequence[str], level: str, for_s: float) -> None:
        """Have services log from a level for so many seconds; 0: by their settings again."""
        await self._fetch("log_level_set", list(services), level, for_s)
