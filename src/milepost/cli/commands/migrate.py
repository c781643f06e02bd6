"""`milepost migrate`."""

import asyncio

import click

from milepost.cli.here import settings_here
from milepost.cli.output import json_option, write, write_json


@click.command()
@click.option("--queues", help="Queues to make work topics for, separated by commas. Workers make those of their own.")
@json_option
def migrate(queues: str | None, as_json: bool) -> None:
    """Bring the database and the topics up to date. Safe to repeat, and to run from many places at once."""
    from milepost.log import ensure_topics
    from milepost.store import migrate as migrate_database

    settings = settings_here()
    names = [name.strip() for name in queues.split(",") if name.strip()] if queues else settings.queues

    async def work() -> tuple[list[str], list[str]]:
        return await migrate_database(settings), await ensure_topics(settings, names)

    applied, made = asyncio.run(work())
    if as_json:
        write_json({"migrations": applied, "topics": made})
        return
    write(*(f"applied {name}" for name in applied), *(f"made topic {name}" for name in made))
    if not applied and not made:
        write("Nothing to do: the database and the topics are up to date.")
