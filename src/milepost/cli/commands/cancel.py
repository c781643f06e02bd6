"""`milepost cancel`."""

import asyncio

import click

from milepost.cli.completing import recent
from milepost.cli.output import json_option, write, write_json
from milepost.client import Client
from milepost_schemas.task import Task, TaskState


@click.command()
@click.argument("id_", metavar="ID", shell_complete=recent)
@json_option
def cancel(id_: str, as_json: bool) -> None:
    """Ask a task to stop."""

    async def ask() -> Task:
        async with Client() as client:
            return await client.cancel(id_)

    task = asyncio.run(ask())
    if as_json:
        write_json(task)
    elif task.state is TaskState.CANCELLED:
        write(f"{task.id} is cancelled.")
    else:
        write(f"{task.id} was asked to stop. See it end with: milepost watch {task.id}")
