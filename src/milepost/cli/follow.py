"""Watching any number of tasks to their ends."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final

import click

from milepost.cli.exits import Exit
from milepost.cli.show import View
from milepost.client import Client, Run
from milepost.errors import Refused, Unreachable
from milepost_schemas.queue import Reason
from milepost_schemas.task import TaskState

QUEUED_S: Final = 3.0
"""Of a task that is queued for so long it is asked why, and again after so long."""
EXPLAINED: Final = 5
"""Of so many tasks at a time."""
_KEEPING: Final = frozenset({Reason.PAUSED, Reason.NO_WORKER, Reason.LIMIT, Reason.IN_LINE})


async def follow(client: Client, runs: Sequence[Run], view: View, *, tail: int = 0, tree: bool = False) -> Exit:
    """Show every event of every task; return how they ended, all in all. Raises what the first failed watch did.

    `tail`: so many of the lines and chunks that each of them streamed before are shown too; `tree`: so are their
    descendants.
    """
    with view:
        watches = [asyncio.create_task(_follow(run, view, tail, tree)) for run in runs]
        besides = [asyncio.create_task(_tick(view)), asyncio.create_task(_why_queued(client, runs, view))]
        try:
            await asyncio.gather(*watches)
        finally:
            for task in (*besides, *watches):
                task.cancel()
            await asyncio.gather(*besides, *watches, return_exceptions=True)
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


async def _why_queued(client: Client, runs: Sequence[Run], view: View) -> None:
    """Say of tasks that stay queued what keeps them there: nothing of that comes over the stream."""
    while True:
        waited = {run: run.task.epoch for run in runs if _is_queued(run)}
        await asyncio.sleep(QUEUED_S)
        still = [run for run, epoch in waited.items() if _is_queued(run) and run.task.epoch == epoch]
        for run in still[:EXPLAINED]:
            try:
                explained = await client.queues.explain(run.id)
            except Refused:
                return  # a key that may not ask
            except Unreachable:
                break
            if _is_queued(run) and explained.reason in _KEEPING:
                view.waits(run.task, explained)


def _is_queued(run: Run) -> bool:
    return run.known and run.task.state is TaskState.QUEUED


def explain(runs: Sequence[Run]) -> None:
    """Say of tasks that failed where one sees why, and how to try again."""
    failed = [run for run in runs if run.task.state is TaskState.FAILED]
    if len(failed) == 1:
        click.echo(f"Its attempts: milepost dead-letters show {failed[0].id}", err=True)
        click.echo(f"Try it again: milepost retry {failed[0].id}", err=True)
    elif failed:
        click.echo(f"{len(failed)} failed. In groups, by why: milepost dead-letters list", err=True)


def run_watching(work: Coroutine[Any, Any, Exit], runs: Sequence[Run]) -> Exit:
    """Run what watches tasks, and puts them into `runs`; return how it ended.

    After Ctrl-C it says that nothing was stopped, and how to come back; so does the Unreachable that it may raise.
    """
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        if not runs:
            raise
        what = "The task goes on" if len(runs) == 1 else "The tasks go on"
        click.echo(f"\n{what}. Watch again with: {_again(runs)}", err=True)
        return Exit.INTERRUPTED
    except Unreachable as error:
        if not (known := [run for run in runs if run.known]):
            raise
        kept = f"What was accepted is kept, and goes on. Watch again with: {_again(known)}"
        raise Unreachable(f"{error}\n{kept}") from error


def _again(runs: Sequence[Run]) -> str:
    return f"milepost watch {' '.join(str(run.id) for run in runs)}"
