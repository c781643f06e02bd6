"""`milepost log-level`."""

import asyncio
import re
from typing import Final

import click

from milepost.cli.here import settings_here
from milepost.cli.output import json_option, span, write, write_json

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
LONGEST_S: Final = 24 * 3600
USUAL: Final = "usual"


class Duration(click.ParamType[float]):
    """Seconds, written `90s`, `10m` or `2h`."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,6})([smh])", value)
        if found is None or not 0 < (seconds := float(found[1]) * _UNITS[found[2]]) <= LONGEST_S:
            self.fail(f"{value!r} is no time up to 24h; write 90s, 10m or 2h.", param, ctx)
        return seconds


@click.command("log-level")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error", USUAL]), required=False)
@click.option(
    "--service", "services", multiple=True, type=click.Choice(["api", "worker", "notifier"]), help="All, unless named."
)
@click.option("--for", "for_s", type=Duration(), default="10m", show_default=True, metavar="TIME", help="For so long.")
@json_option
def log_level(level: str | None, services: tuple[str, ...], for_s: float, as_json: bool) -> None:
    """Have services log more or less for a while; without a LEVEL show what they do. `usual`: as their settings say.

    Goes to Postgres itself (MILEPOST_DATABASE_URL), where every process looks once a second.
    """
    from milepost.store import open_pool
    from milepost.store.loglevels import SERVICES, LogLevels

    settings = settings_here()
    chosen = services or SERVICES

    async def work() -> dict[str, tuple[str, float]]:
        pool = await open_pool(settings, "cli", size=1)
        try:
            store = LogLevels(pool)
            if level is not None:
                await store.set_level(chosen, "info" if level == USUAL else level, 0.0 if level == USUAL else for_s)
            return {name: (other.level, other.left_s) for name, other in (await store.levels()).items()}
        finally:
            pool.terminate()

    found = asyncio.run(work())
    if as_json:
        write_json({name: {"level": other, "seconds": round(left)} for name, (other, left) in found.items()})
        return
    for name in SERVICES:
        if name in found:
            other, left = found[name]
            write(f"{name}: {other}, for {span(left)} more")
        else:
            write(f"{name}: as its settings say")
