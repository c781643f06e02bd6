"""Tasks for tests: each shows one way a handler can behave."""

import asyncio
import time
from pathlib import Path

from pydantic import BaseModel, Field

from milepost import Context, Permanent, RetryAfter, task
from tests.diary import diary


class Gate(BaseModel):
    """A handler that waits until a file exists, so that tests decide when it goes on."""

    path: str
    steps: int = 3


@task("test.gate", max_attempts=5)
async def gate(ctx: Context, payload: Gate) -> dict[str, int]:
    """Report the first step, wait for the gate, report the others."""
    with diary(ctx, 0.1) as alive:
        ctx.progress(1, payload.steps, unit="steps")
        while not Path(payload.path).exists():  # noqa: ASYNC240 - a stat now and then
            await asyncio.sleep(0.02)
            alive()
        for step in range(2, payload.steps + 1):
            ctx.progress(step, payload.steps, unit="steps")
    return {"attempt": ctx.attempt}


@task("test.slow", queue="slow")
async def slow(ctx: Context, payload: Gate) -> None:
    """The same, on a queue of its own."""
    await gate(ctx, payload)


@task("test.thread_gate")
def thread_gate(ctx: Context, payload: Gate) -> str:
    """The same in a thread; ends early when asked to."""
    with diary(ctx, 0.1) as alive:
        while not Path(payload.path).exists():
            if ctx.cancelled:
                return "stopped early"
            time.sleep(0.02)
            alive()
    return "done"


@task("test.process_gate", isolation="process", memory="256MiB")
async def process_gate(ctx: Context, payload: Gate) -> dict[str, int]:
    """The same in a process."""
    return await gate(ctx, payload)


class Words(BaseModel):
    """Something to say."""

    words: str = "no"


@task("test.permanent")
async def permanent(_ctx: Context, payload: Words) -> None:
    """Fail for good."""
    raise Permanent(payload.words)


@task("test.retry_after")
async def retry_after(ctx: Context) -> int:
    """Ask for another attempt at once, until the third."""
    if ctx.attempt < 3:
        raise RetryAfter(0.0)
    return ctx.attempt


@task("test.exit", isolation="process", max_attempts=1)
def exit_process(_ctx: Context) -> None:
    """Take the process down."""
    import os

    os._exit(7)


@task("test.timeout", timeout=0.2, max_attempts=1)
async def timeout(_ctx: Context) -> None:
    """Never end."""
    await asyncio.Event().wait()


class Large(BaseModel):
    """A size."""

    size: int = Field(ge=0)


@task("test.large", max_attempts=1)
async def large(_ctx: Context, payload: Large) -> str:
    """Return a text of that size."""
    return "x" * payload.size


@task("test.unserialisable", max_attempts=1)
async def unserialisable(_ctx: Context):  # type: ignore[no-untyped-def]
    """Return what JSON cannot carry."""
    return object()


@task("test.thread_count")
def thread_count(ctx: Context) -> None:
    """Report progress in a tight loop, from a thread."""
    for done in range(101):
        ctx.progress(done, 100)


@task("test.sys_exit", max_attempts=1)
async def sys_exit(_ctx: Context) -> None:
    """Do what a script would."""
    import sys

    sys.exit(3)


@task("test.hostile_progress")
async def hostile_progress(ctx: Context, payload: Gate) -> None:
    """Say things JSON cannot carry, and go on for a while."""
    ctx.progress(1, 10, message="r\udce9sum\udce9")
    ctx.progress(float("nan"))
    while not Path(payload.path).exists():  # noqa: ASYNC240 - a stat now and then
        await asyncio.sleep(0.02)


@task("test.daemon", isolation="process", max_attempts=1)
def daemon(_ctx: Context) -> str:
    """Leave a process behind that holds everything open, and crash."""
    import os

    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    os._exit(9)


@task("test.fail_until", max_attempts=1)
async def fail_until(_ctx: Context, payload: Gate) -> None:
    """Fail for good until the gate is there."""
    if not Path(payload.path).exists():  # noqa: ASYNC240 - a stat
        raise Permanent(f"no {payload.path}")


class Chatter(BaseModel):
    """For how long, and what."""

    seconds: float
    words: str


@task("test.chatter", max_attempts=1)
async def chatter(ctx: Context, payload: Chatter) -> None:
    """Report progress with long messages, as often as it is sent."""
    for step in range(int(payload.seconds * 5)):
        ctx.progress(step, message=f"{step} {payload.words}")
        await asyncio.sleep(0.2)


@task("test.stubborn")
async def stubborn(_ctx: Context) -> None:
    """Swallow every cancellation for a while."""
    deadline = time.monotonic() + 12
    while time.monotonic() < deadline:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            continue


class Seconds(BaseModel):
    """How long."""

    seconds: float


@task("test.blocking")
async def blocking(_ctx: Context, payload: Seconds) -> None:
    """Block the loop of the worker."""
    time.sleep(payload.seconds)  # noqa: ASYNC251 - that is what it is for


class Speech(BaseModel):
    """So many words, a pause after each, a line of log before each tenth; then wait for a file, if any is named."""

    words: int = 100
    pause: float = 0.005
    line_every: int = 10
    path: str | None = None


@task("test.speak")
async def speak(ctx: Context, payload: Speech) -> None:
    """Emit words as a model does."""
    for number in range(payload.words):
        say(ctx, payload, number)
        await asyncio.sleep(payload.pause)
    while payload.path is not None and not Path(payload.path).exists():  # noqa: ASYNC240 - a stat now and then
        await asyncio.sleep(0.02)


@task("test.thread_speak")
def thread_speak(ctx: Context, payload: Speech) -> None:
    """The same in a thread."""
    for number in range(payload.words):
        say(ctx, payload, number)
        time.sleep(payload.pause)


@task("test.process_speak", isolation="process")
def process_speak(ctx: Context, payload: Speech) -> None:
    """The same in a process."""
    thread_speak(ctx, payload)


def say(ctx: Context, payload: Speech, number: int) -> None:
    """Say one word."""
    if number % payload.line_every == 0:
        ctx.log("to come", word=number)
        ctx.progress(number, payload.words)
    ctx.emit("words", f"{number} ")


@task("test.pour")
async def pour(ctx: Context) -> None:
    """Emit as much as a task may, until it is cancelled."""
    while True:
        ctx.emit("text", "x" * 8_000)
        await asyncio.sleep(0.25)


class Flood(BaseModel):
    """An amount."""

    lines: int


@task("test.log_lines", max_attempts=1)
def log_lines(ctx: Context, payload: Flood) -> None:
    """Log as fast as it goes."""
    for number in range(payload.lines):
        ctx.log("a line", number=number)
