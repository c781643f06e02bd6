"""Tasks of the soak. Each result carries the attempt and a mark, so that results of two attempts cannot be mistaken."""

import asyncio
import secrets
import time

from pydantic import BaseModel

from milepost import Context, task
from tests.diary import diary

ATTEMPTS = 30
"""Enough that faults do not use them up: a task that fails does so because it was told to."""


class Work(BaseModel):
    """How much of it."""

    n: int = 0
    to: int = 10
    delay: float = 0.2
    fails: int = 0


def _done(ctx: Context) -> dict[str, object]:
    return {"attempt": ctx.attempt, "mark": secrets.token_hex(8)}


@task("soak.short", max_attempts=ATTEMPTS)
async def short(ctx: Context, _work: Work) -> dict[str, object]:
    """Be done at once."""
    with diary(ctx, 0.1):
        return _done(ctx)


@task("soak.progress", max_attempts=ATTEMPTS)
async def progress(ctx: Context, work: Work) -> dict[str, object]:
    """Report progress `to` times, `delay` seconds apart."""
    with diary(ctx, work.delay) as alive:
        for done in range(1, work.to + 1):
            await asyncio.sleep(work.delay)
            ctx.progress(done, work.to, unit="steps")
            alive()
    return _done(ctx)


@task("soak.thread", max_attempts=ATTEMPTS)
def thread(ctx: Context, work: Work) -> dict[str, object]:
    """The same in a thread."""
    with diary(ctx, work.delay) as alive:
        for done in range(1, work.to + 1):
            time.sleep(work.delay)
            alive()
            ctx.check()
            ctx.progress(done, work.to, unit="steps")
    return _done(ctx)


@task("soak.process", isolation="process", memory="256MiB", max_attempts=ATTEMPTS)
def process(ctx: Context, work: Work) -> dict[str, object]:
    """The same in a process."""
    return thread(ctx, work)


@task("soak.retry", max_attempts=ATTEMPTS)
async def retry(ctx: Context, work: Work) -> dict[str, object]:
    """Fail `fails` attempts, then succeed."""
    if ctx.attempt <= work.fails:
        raise RuntimeError(f"attempt {ctx.attempt} was told to fail")
    return _done(ctx)


@task("soak.fail", max_attempts=2)
async def fail(ctx: Context, _work: Work) -> None:
    """Fail for good."""
    raise RuntimeError(f"attempt {ctx.attempt} was told to fail")
