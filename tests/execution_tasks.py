"""Tasks that show how attempts end: in time, out of time, by a limit, by a signal, or not at all."""

import asyncio

from milepost import Context, RetryAfter, RetryPolicy, task


@task("run.scheduled", retry=[0.05, 0.1])
async def scheduled(_ctx: Context) -> None:
    """Fail, as often as the schedule lets it."""
    raise ValueError("again and again")


@task("run.give_up", max_attempts=5, retry=RetryPolicy(base=0.01, give_up_on=(LookupError,)))
async def give_up(_ctx: Context) -> None:
    """Raise what another attempt would meet again."""
    raise KeyError("no such thing")


@task("run.give_up_process", max_attempts=5, isolation="process", retry=RetryPolicy(give_up_on=(LookupError,)))
def give_up_process(_ctx: Context) -> None:
    """The same in a process."""
    raise KeyError("no such thing")


@task("run.give_up_timeout", max_attempts=5, timeout=0.1, retry=RetryPolicy(base=0.01, give_up_on=("Timeout",)))
async def give_up_timeout(_ctx: Context) -> None:
    """Never end."""
    await asyncio.Event().wait()


@task("run.endless")
async def endless(_ctx: Context) -> None:
    """Never end."""
    await asyncio.Event().wait()


@task("run.later", total_timeout=60)
async def later(_ctx: Context) -> None:
    """Ask for another attempt in an hour."""
    raise RetryAfter(3600.0, "come back in an hour")
