"""Watching any number of tasks to their ends."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import click

from milepost.cli.exits import Exit
from milepost.cli.show import View
from milepost.client import Run
from milepost.errors import Refused
from milepost_schemas.task import TaskState


async def follow(runs: Sequence[Run], view: View, *, tail: int = 0, tree: bool = False) -> Exit:
    """Show every event of every task; return how they ended, all in all. Raises what the first failed watch did.

    `tail`: so many of the lines and chunks that each of them streamed before are shown too; `tree`: so are their
    descendants.
    """
    with view:
        watches = [asyncio.create_task(_follow(run, view, tail, tree)) for run in runs]
        ticks = asyncio.create_task(_tick(view))
        try:
            await asyncio.gather(*watches)
        finally:
            for task in (ticks, *watches):
                task.cancel()
            await asyncio.gather(ticks, *watches, return_exceptions=True)
    return Exit.DONE if all(run.task.state is TaskState.SUCCEEDED for run in runs) else Exit.FAILED


async def _follow(run: Run, view: View, tail: int, tree: bool) -> None:
    try:
        async with aclosing(run.watch(tail=tail, tree=tree)) as events:
            async for event in events:
                view.event(event)
    except Refused as error:
        # One of several may be the one that does not exist.
        raise Refused(error.status, error.type, f"Task {run.id}: {error.detail}", error.trace_id) from error


async def _tick(view: View) -> None:
    while True:
        await asyncio.sleep(1.0)
        view.tick()


def explain(runs: Sequence[Run]) -> None:
    """Say of tasks that failed where one sees why, and how to try again."""
    failed = [run for run in runs if run.task.state is TaskState.FAILED]
    if len(failed) == 1:
        click.echo(f"Its attempts: milepost dead-letters show {failed[0].id}", err=True)
        click.echo(f"Try it again: milepost retry {failed[0].id}", err=True)
    elif failed:
        click.echo(f"{len(failed)} failed. In groups, by why: milepost dead-letters list", err=True)


def interrupted(ids: Sequence[str]) -> Exit:
    """Say after Ctrl-C that nothing was stopped, and how to come back."""
    what = "The task goes on" if len(ids) == 1 else "The tasks go on"
    click.echo(f"\n{what}. Watch again with: milepost watch {' '.join(ids)}", err=True)
    return Exit.INTERRUPTED
