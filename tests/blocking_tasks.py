"""Tasks that do what a handler must not, and one that goes on beside them."""

import asyncio
import re
import time
from pathlib import Path

from pydantic import BaseModel

from milepost import Context, task


class Block(BaseModel):
    """Block the loop until a file exists, at most so many seconds."""

    path: str
    at_most: float = 60.0


@task("block.loop", max_attempts=2)
async def loop(ctx: Context, payload: Block) -> int:
    """Block the worker's loop on the first attempt."""
    if ctx.attempt == 1:
        _wait(payload)
    return ctx.attempt


@task("block.timeout", max_attempts=1, timeout=3.0)
async def timeout(_ctx: Context, payload: Block) -> None:
    """Block it past the task's own time."""
    _wait(payload)


@task("block.unknown", max_attempts=1)
async def unknown(_ctx: Context, payload: Block) -> None:
    """Block it from a callback, which nobody can tell whose it is."""
    asyncio.get_running_loop().call_soon(_wait, payload)
    await asyncio.Event().wait()


@task("block.interpreter", max_attempts=1)
async def interpreter(_ctx: Context) -> None:
    """Keep the interpreter's lock: a regular expression that takes for ever."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def _wait(payload: Block) -> None:
    until = time.monotonic() + payload.at_most
    while not Path(payload.path).exists() and time.monotonic() < until:
        time.sleep(0.02)  # where the loop stands


@task("block.thread", max_attempts=1)
async def thread(_ctx: Context, payload: Block) -> None:
    """Wait in a thread that nobody can end."""
    await asyncio.to_thread(_wait, payload)
