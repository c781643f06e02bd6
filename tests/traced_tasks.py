"""Tasks whose handlers make spans of their own, as any code does: nothing here knows of Milepost's."""

import asyncio

from opentelemetry import trace
from pydantic import BaseModel

from milepost import Context, task

TRACER = trace.get_tracer("tests.traced")


class Times(BaseModel):
    """How many attempts fail."""

    fail: int = 0


def _step(ctx: Context, times: Times) -> int:
    with TRACER.start_as_current_span("look something up"), TRACER.start_as_current_span("ask somebody"):
        trace.get_current_span().set_attribute("tests.attempt", ctx.attempt)
    trace.get_current_span().set_attribute("tests.seen", value=True)
    if ctx.attempt <= times.fail:
        raise LookupError("nobody was there")
    return ctx.attempt


@task("traced.loop", max_attempts=3)
async def on_the_loop(ctx: Context, times: Times) -> int:
    """On the worker's loop."""
    await asyncio.sleep(0)
    return await asyncio.create_task(_later(ctx, times))


async def _later(ctx: Context, times: Times) -> int:
    return _step(ctx, times)


@task("traced.thread")
def in_a_thread(ctx: Context, times: Times) -> int:
    """In a thread."""
    return _step(ctx, times)


@task("traced.process", isolation="process")
async def in_a_process(ctx: Context, times: Times) -> int:
    """In a process."""
    return _step(ctx, times)
