"""`milepost watch`."""

import click

from milepost.cli.completing import recent
from milepost.cli.exits import Exit
from milepost.cli.follow import explain, follow, run_watching
from milepost.cli.output import json_option
from milepost.cli.show import TAIL, logs_option, make_view
from milepost.client import Client, Run


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=recent)
@click.option("--tree", is_flag=True, help="Show their descendants too, those to come included.")
@logs_option
@json_option
def watch(ids: tuple[str, ...], tree: bool, logs: bool, as_json: bool) -> Exit:
    """Watch tasks live until all are over. JSON is one event a line. Ctrl-C stops watching, not the tasks."""
    runs: list[Run] = []

    async def work() -> Exit:
        async with Client() as client:
            runs.extend(client.run(id_) for id_ in dict.fromkeys(ids))
            view = make_view(as_json=as_json, logs=logs)
            ended = await follow(client, runs, view, tail=TAIL if logs else 0, tree=tree)
            if not as_json:
                explain(runs)
            return ended

    return run_watching(work(), runs)
