"""`milepost get`."""

import asyncio

import click

from milepost.cli.completing import recent
from milepost.cli.output import json_option, task_lines, write, write_json
from milepost.client import Client
from milepost_schemas.task import Task


@click.command()
@click.argument("id_", metavar="ID", shell_complete=recent)
@json_option
def get(id_: str, as_json: bool) -> None:
    """Show a task."""

    async def read() -> Task:
        async with Client() as client:
            return await client.get(id_)

    task = asyncio.run(read())
    if as_json:
        write_json(task)
    else:
        write(*task_lines(task))
