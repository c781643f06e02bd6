"""`milepost attempts`."""

import asyncio
from collections.abc import Sequence

import click

from milepost.cli.completing import recent
from milepost.cli.output import instant, json_option, printable, write, write_json
from milepost.client import Client
from milepost_schemas.deadletter import Attempt

_ROW = "{:>7}  {:>5}  {:<10}  {:<20}  {:<20}  {}"
_SHOWN = 100


@click.command()
@click.argument("id_", metavar="ID", shell_complete=recent)
@json_option
def attempts(id_: str, as_json: bool) -> None:
    """List the runs a task had, the newest first. JSON is one object a line."""

    async def read() -> Sequence[Attempt]:
        async with Client() as client:
            return await client.attempts(id_)

    found = asyncio.run(read())
    if as_json:
        for one in found:
            write_json(one, line=True)
        return
    if not found:
        write("It has not run yet.")
        return
    write(_ROW.format("ATTEMPT", "EPOCH", "OUTCOME", "STARTED", "FINISHED", "ERROR").rstrip())
    for one in found:
        error = printable(f"{one.error.type}: {one.error.message}")[:_SHOWN] if one.error else ""
        started, finished = instant(one.started_at) or "", instant(one.finished_at) or ""
        write(_ROW.format(one.attempt, one.epoch, one.outcome, started, finished, error).rstrip())
