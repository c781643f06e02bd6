"""Tasks that say when they were told to stop."""

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel

from milepost import Context, task


class Told(BaseModel):
    """Where to write the moment, as seconds of the machine's steady clock."""

    path: str


@task("stop.coroutine")
async def coroutine(ctx: Context, payload: Told) -> None:
    """Wait for the cancellation."""
    ctx.progress(1, 2)
    try:
        await asyncio.Event().wait()
    finally:
        Path(payload.path).write_text(str(time.monotonic()))  # noqa: ASYNC240 - a few bytes


@task("stop.process", isolation="process", max_attempts=5)
def process(ctx: Context, payload: Told) -> None:
    """Say which process runs it, and go on whatever happens."""
    Path(payload.path).write_text(str(os.getpid()))
    while True:
        ctx.progress(1, 2)
        time.sleep(0.02)
