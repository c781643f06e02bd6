"""`milepost result`."""

import asyncio

import click

from milepost.cli.completing import recent
from milepost.cli.output import json_option, write_json
from milepost.client import Client


@click.command()
@click.argument("id_", metavar="ID", shell_complete=recent)
@click.option("--wait", is_flag=True, help="Wait for the end; without it a task that is not over is refused.")
@json_option
def result(id_: str, wait: bool, as_json: bool) -> None:
    """Write the result of a task, as JSON. Exits with 1 if the task failed or was cancelled."""
    del as_json  # it is JSON either way

    async def read() -> object:
        async with Client() as client:
            run = client.run(id_)
            if not wait and not (await run.refresh()).state.terminal:
                raise click.ClickException(f"Task {id_} is {run.task.state.value}: wait for it with --wait.")
            return await run.result()

    write_json(asyncio.run(read()))
