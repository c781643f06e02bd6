"""The task of the benchmark that measures from a worker's call on."""

import asyncio
import time

from pydantic import BaseModel, ConfigDict, Field

from milepost.tasks import Context, task


class Pulse(BaseModel):
    """How often to tell progress, and how many times."""

    model_config = ConfigDict(extra="forbid")

    beats: int = Field(ge=1)
    every: float = Field(gt=0, description="Seconds between two.")
    wait: float = Field(ge=0, description="Seconds before the first, so that not all tell theirs at once.")


@task("bench.pulse")
async def pulse(ctx: Context, request: Pulse) -> int:
    """Tell progress evenly; each message is the moment of the call (CLOCK_MONOTONIC, nanoseconds)."""
    await asyncio.sleep(request.wait)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for beat in range(1, request.beats + 1):
        ctx.progress(beat, request.beats, message=f"@{time.monotonic_ns()}")
        await asyncio.sleep(max(0.0, began + beat * request.every - loop.time()))
    return request.beats
