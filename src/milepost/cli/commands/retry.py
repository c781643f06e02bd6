"""`milepost retry`."""

import asyncio

import click

from milepost.cli.completing import recent
from milepost.cli.output import json_option, write, write_json
from milepost.client import Client
from milepost_schemas.task import Task


@click.command()
@click.argument("id_", metavar="ID", shell_complete=recent)
@json_option
def retry(id_: str, as_json: bool) -> None:
    """Run a failed or cancelled task again, its attempts counted anew."""

    async def ask() -> Task:
        async with Client() as client:
            return await client.retry(id_)

    task = asyncio.run(ask())
    if as_json:
        write_json(task)
    else:
        write(f"{task.id} is {task.state.value} again. Watch it with: milepost watch {task.id}")
