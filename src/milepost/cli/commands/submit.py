"""`milepost submit`."""

import sys
from typing import Any

import click

from milepost.cli.completing import queues, recent, types
from milepost.cli.exits import Exit
from milepost.cli.follow import explain, follow, run_watching
from milepost.cli.options import labels_of, payload_of
from milepost.cli.output import json_option, write, write_json
from milepost.cli.show import TAIL, logs_option, make_view
from milepost.cli.show.view import state_text, title
from milepost.client import Client, Run
from milepost.errors import TaskFailed
from milepost_schemas.task import Priority, TaskState


@click.command()
@click.argument("type_", metavar="TYPE", shell_complete=types)
@click.option("--payload", metavar="JSON|@FILE|-", help="A JSON object, a file that holds one, or standard input.")
@click.option("--wait", is_flag=True, help="Wait for the end and write the result.")
@click.option("--watch", is_flag=True, help="Show progress live, then the result.")
@click.option("--idempotency-key", help="The same key again finds the same task.")
@click.option("--queue", shell_complete=queues, help="Another queue than the type's own.")
@click.option("--priority", type=click.Choice([priority.value for priority in Priority]))
@click.option("--delay", type=click.FloatRange(0), help="Seconds before it may start.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option("--max-attempts", type=click.IntRange(1))
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds one attempt may take.")
@click.option("--total-timeout", type=click.FloatRange(0, min_open=True), help="Seconds all attempts may take.")
@click.option("--expires-in", type=click.FloatRange(0, min_open=True), help="Seconds after which not to start it.")
@click.option("--key", help="Tasks of one key share its limits.")
@click.option("--parent", "parent_id", metavar="ID", shell_complete=recent, help="It is to be a child of this task.")
@logs_option
@json_option
def submit(
    type_: str,
    payload: str | None,
    wait: bool,
    watch: bool,
    logs: bool,
    labels: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> Exit:
    """Submit a task of TYPE. Writes its id; with --wait or --watch its result, and exits with 1 if it failed."""
    if wait and watch:
        raise click.UsageError("--wait and --watch exclude each other.")
    if logs and not watch:
        raise click.UsageError("--logs goes with --watch.")
    arguments = {**options, "payload": payload_of(payload), "labels": labels_of(labels) or None}
    submitted: list[Run] = []

    async def work() -> Exit:
        async with Client() as client:
            run = await client.submit(type_, **arguments)
            submitted.append(run)
            if (watch or wait) and not as_json:
                click.echo(f"Task {run.id}", err=True)
            if watch:
                return await _watch(client, run, as_json=as_json, logs=logs)
            if wait:
                return await _wait(run, as_json=as_json)
            _accepted(run, as_json=as_json)
            return Exit.DONE

    return run_watching(work(), submitted)


def _accepted(run: Run, *, as_json: bool) -> None:
    if as_json:
        write_json(run.task)
        return
    write(str(run.id))
    if sys.stdout.isatty():
        click.echo(f"Watch it with: milepost watch {run.id}", err=True)


async def _watch(client: Client, run: Run, *, as_json: bool, logs: bool) -> Exit:
    ended = await follow(client, [run], make_view(as_json=as_json, logs=logs), tail=TAIL if logs else 0)
    if not as_json:
        explain([run])
        if run.task.state is TaskState.SUCCEEDED:
            write_json(await run.result())
    return ended


async def _wait(run: Run, *, as_json: bool) -> Exit:
    try:
        result = await run.result()
    except TaskFailed as error:
        if as_json:
            write_json(run.task)
        else:
            click.echo(str(error), err=True)
            explain([run])
        return Exit.FAILED
    if as_json:
        write_json(run.task.model_copy(update={"result": result}))
    else:
        click.echo(f"{title(run.task)}: {state_text(run.task)}", err=True)
        write_json(result)
    return Exit.DONE
