"""`milepost list`."""

import asyncio
from datetime import UTC, datetime

import click

from milepost.cli.completing import queues, recent, types
from milepost.cli.options import labels_of
from milepost.cli.output import instant, json_option, printable, progress_text, write, write_json
from milepost.client import Client
from milepost_schemas.task import Task, TaskState

_ROW = "{:<36}  {:<9}  {:<24}  {:<12}  {:<20}  {}"


@click.command("list")
@click.option("--state", type=click.Choice([state.value for state in TaskState]), help="Only in this state.")
@click.option("--type", "type_", shell_complete=types, help="Only of this type.")
@click.option("--queue", shell_complete=queues, help="Only of this queue.")
@click.option("--parent", "parent_id", metavar="ID", shell_complete=recent, help="Only children of this task.")
@click.option(
    "--root", "root_id", metavar="ID", shell_complete=recent, help="Only this task, which has no parent, and all below."
)
@click.option("--created-from", type=click.DateTime(), help="Made at this instant (UTC) or later.")
@click.option("--created-before", type=click.DateTime(), help="Made before this instant (UTC).")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only with this label; may be repeated.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@json_option
def list_(
    state: str | None,
    type_: str | None,
    queue: str | None,
    parent_id: str | None,
    root_id: str | None,
    created_from: datetime | None,
    created_before: datetime | None,
    labels: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """List tasks, newest first. JSON is one object a line."""

    async def read() -> list[Task]:
        async with Client() as client:
            chosen = client.list(
                state=state,
                type=type_,
                queue=queue,
                parent_id=parent_id,
                root_id=root_id,
                created_from=_in_utc(created_from),
                created_before=_in_utc(created_before),
                labels=labels_of(labels),
                limit=limit,
            )
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


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
