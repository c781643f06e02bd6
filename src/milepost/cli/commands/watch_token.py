"""`milepost watch-token`."""

import asyncio

import click

from milepost.cli.completing import recent
from milepost.cli.options import labels_of
from milepost.cli.output import json_option, write, write_json
from milepost.client import Client


@click.command("watch-token")
@click.argument("id_", metavar="[ID]", required=False, shell_complete=recent)
@click.option("--label", metavar="NAME=VALUE", help="For tasks that have this label.")
@click.option("--feed", is_flag=True, help="For the feed of all tasks.")
@click.option("--ttl", type=click.IntRange(1, 3600), default=900, show_default=True, help="Seconds it lasts.")
@json_option
def watch_token(id_: str | None, label: str | None, feed: bool, ttl: int, as_json: bool) -> None:
    """Make a token for a page to watch with: a task and its descendants, tasks with a label, or the feed."""
    if sum((id_ is not None, label is not None, feed)) != 1:
        raise click.UsageError("Name a task, --label or --feed, one of them.")
    pair = next(iter(labels_of([label]).items())) if label is not None else None

    async def make() -> str:
        async with Client() as client:
            return await client.watch_token(task=id_, label=pair, feed=feed, ttl=ttl)

    token = asyncio.run(make())
    if as_json:
        write_json({"token": token})
    else:
        write(token)
