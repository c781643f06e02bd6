"""`milepost list`."""

import asyncio

import click

from milepost.cli.options import labels_of
from milepost.cli.output import instant, json_option, printable, progress_text, write, write_json
from milepost.client import Client
from milepost_schemas.task import Task, TaskState

_ROW = "{:<36}  {:<9}  {:<24}  {:<12}  {:<20}  {}"


@click.command("list")
@click.option("--state", type=click.Choice([state.value for state in TaskState]), help="Only in this state.")
@click.option("--type", "type_", help="Only of this type.")
@click.option("--queue", help="Only of this queue.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only with this label; may be repeated.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@json_option
def list_(
    state: str | None, type_: str | None, queue: str | None, labels: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """List tasks, newest first. JSON is one object a line."""

    async def read() -> list[Task]:
        async with Client() as client:
            chosen = client.list(state=state, type=type_, queue=queue, labels=labels_of(labels), limit=limit)
            return [task async for task in chosen]

    tasks = asyncio.run(read())
    if as_json:
        for task in tasks:
            write_json(task, line=True)
        return
    if not tasks:
        write("No tasks match.")
        return
    write(_ROW.format("ID", "STATE", "TYPE", "QUEUE", "CREATED", "PROGRESS").rstrip())
    for task in tasks:
        progress = progress_text(task.progress) if task.progress and not task.state.terminal else ""
        if task.error is not None:
            progress = printable(f"{task.error.type}: {task.error.message}")[:80]
        row = _ROW.format(str(task.id), task.state.value, task.type, task.queue, instant(task.created_at), progress)
        write(row.rstrip())
