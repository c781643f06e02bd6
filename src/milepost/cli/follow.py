"""Watching any number of tasks to their ends."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import click

from milepost.cli.exits import Exit
from milepost.cli.show import View
from milepost.client import Run
from milepost_schemas.task import TaskState


async def follow(runs: Sequence[Run], view: View) -> Exit:
    """Show every event of every task; return how they ended, all in all. Raises what the first failed watch did."""
    with view:
        watches = [asyncio.create_task(_follow(run, view)) for run in runs]
        try:
            await asyncio.gather(*watches)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
    return Exit.DONE if all(run.task.state is TaskState.SUCCEEDED for run in runs) else Exit.FAILED


async def _follow(run: Run, view: View) -> None:
    async with aclosing(run.watch()) as events:
        async for event in events:
            view.event(event)


def interrupted(ids: Sequence[str]) -> Exit:
    """Say after Ctrl-C that nothing was stopped, and how to come back."""
    what = "The task goes on" if len(ids) == 1 else "The tasks go on"
    click.echo(f"\n{what}. Watch again with: milepost watch {' '.join(ids)}", err=True)
    return Exit.INTERRUPTED
