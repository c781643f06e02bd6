"""Tasks to try things with, loaded by `milepost dev` and `milepost demo`. Queue `default`."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from milepost.tasks import Context, task

MEMORY = "512MiB"
"""What `demo.allocate` may take, the interpreter included: ask for more and see what happens."""
_MIB = 2**20
_PAGE = 4096


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Count(_Payload):
    """How far to count, and how fast."""

    to: int = Field(default=10, ge=0, le=1_000_000)
    delay: float = Field(default=0.1, ge=0, le=60, description="Seconds between two numbers.")


class Fail(_Payload):
    """How many attempts are to fail."""

    times: int = Field(default=1, ge=0, le=100)
    message: str = Field(default="failed because it was told to", max_length=1000)


class Spin(_Payload):
    """How long to burn a core."""

    seconds: float = Field(default=5.0, ge=0, le=3600)


class Allocate(_Payload):
    """How much memory to take."""

    mib: int = Field(default=64, ge=0, le=65_536)


class Write(_Payload):
    """What to write, and how fast."""

    text: str = Field(
        default="A worker was killed in the middle of a sentence, and another one went on with it from the start.",
        max_length=10_000,
    )
    delay: float = Field(default=0.15, ge=0, le=60, description="Seconds between two words.")


@task("demo.count")
async def count(ctx: Context, request: Count) -> dict[str, int]:
    """Count, with progress; returns {"count": to}."""
    ctx.progress(0, request.to, unit="numbers")
    for number in range(1, request.to + 1):
        # Numbers in a row without a pause still let the others on this worker run.
        if request.delay > 0 or number % 1000 == 0:
            await asyncio.sleep(request.delay)
        ctx.check()
        ctx.progress(number, request.to, unit="numbers", message=f"counted to {number}")
    return {"count": request.to}


@task("demo.write")
async def write(ctx: Context, request: Write) -> dict[str, int]:
    """Write word by word, as a model does, to those who watch; returns {"words": n}."""
    words = request.text.split()
    ctx.log("writing", words=len(words))
    for number, word in enumerate(words, start=1):
        await asyncio.sleep(request.delay)
        ctx.check()
        ctx.emit("text", f"{word} ")
        ctx.progress(number, len(words), unit="words")
    return {"words": len(words)}


@task("demo.fail", max_attempts=3)
async def fail(ctx: Context, request: Fail) -> dict[str, int]:
    """Fail the first `times` attempts, then succeed; returns {"attempt": n}."""
    if ctx.attempt <= request.times:
        raise RuntimeError(request.message)
    return {"attempt": ctx.attempt}


@task("demo.spin", isolation="process", timeout=timedelta(hours=2))
def spin(ctx: Context, request: Spin) -> dict[str, float]:
    """Burn a core in a process of its own, with progress in seconds; returns {"seconds": spent}."""
    began = time.monotonic()
    ctx.progress(0, request.seconds, unit="s", message="spinning")
    while (spent := time.monotonic() - began) < request.seconds:
        ctx.check()
        ctx.progress(round(spent, 1), request.seconds, unit="s", message="spinning")
    ctx.progress(request.seconds, request.seconds, unit="s", message="spun")
    return {"seconds": round(spent, 3)}


@task("demo.allocate", isolation="process", memory=MEMORY, max_attempts=1)
def allocate(ctx: Context, request: Allocate) -> dict[str, int]:
    """Take memory in a process that may have 512 MiB, and touch every page; returns {"mib": taken}.

    More than the limit ends this one attempt with an error; its worker goes on.
    """
    held = []
    for taken in range(request.mib):
        ctx.check()
        block = bytearray(_MIB)
        block[::_PAGE] = b"\1" * (_MIB // _PAGE)
        held.append(block)
        ctx.progress(taken + 1, request.mib, unit="MiB", message="taking memory")
    return {"mib": len(held)}


@task("demo.echo")
async def echo(_ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Return the payload as it is."""
    return request
