"""Tasks that show how attempts end: in time, out of time, by a limit, by a signal, or not at all."""

import asyncio
import ctypes
import logging
import mmap
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel

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


class Where(BaseModel):
    """Where to put what a test reads, and how much of something."""

    path: str = ""
    amount: int = 0


def note(path: str, *pids: int) -> None:
    """Write down process ids, all at once."""
    scratch = Path(f"{path}.{os.getpid()}")
    scratch.write_text(" ".join(map(str, pids)))
    scratch.replace(path)


def sleeper() -> int:
    """Leave a process behind that is nobody's child, in a session of its own; return its id."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(3600)
    os.wait()
    return int(os.read(read, 20))


@task("run.family", isolation="process", max_attempts=2, retry=RetryPolicy(base=0.01))
def family(ctx: Context, payload: Where) -> str:
    """Write down the own process, a child and a daemon; run until told to stop; the second attempt only returns."""
    if ctx.attempt > 1:
        return "second"
    child = subprocess.Popen(["sleep", "3600"])
    note(payload.path, os.getpid(), child.pid, sleeper())
    while True:
        time.sleep(3600)


@task("run.leaves_family", isolation="process", max_attempts=1)
def leaves_family(_ctx: Context, payload: Where) -> str:
    """The same, and return at once."""
    child = subprocess.Popen(["sleep", "3600"])
    note(payload.path, os.getpid(), child.pid, sleeper())
    return "left them behind"


@task("run.deaf", isolation="process", max_attempts=1)
def deaf(_ctx: Context, payload: Where) -> None:
    """Ignore everything one can ignore."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(payload.path, os.getpid())
    while True:
        time.sleep(3600)


@task("run.tidy", isolation="process", max_attempts=1)
def tidy(_ctx: Context, payload: Where) -> None:
    """Ignore being told to stop, but tidy up on SIGTERM."""
    note(payload.path, os.getpid())
    try:
        while True:
            time.sleep(3600)
    finally:
        Path(payload.path).with_suffix(".tidied").touch()


@task("run.take", isolation="process", memory="256MiB", max_attempts=1)
def take(_ctx: Context, payload: Where) -> int:
    """Take so many MiB at once."""
    return len(bytearray(payload.amount * 2**20))


@task("run.fill", isolation="process", memory="256MiB", max_attempts=1)
def fill(_ctx: Context) -> int:
    """Take memory in many small pieces, until there is none."""
    held: list[object] = []
    while True:
        held.append([bytes(100) for _ in range(100)])


@task("run.take_natively", isolation="process", memory="256MiB", max_attempts=1)
def take_natively(_ctx: Context, payload: Where) -> None:
    """Take so many MiB as careless native code does: without looking whether it got them."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    got = libc.malloc(ctypes.c_size_t(payload.amount * 2**20))
    ctypes.memset(got or 0, 1, payload.amount * 2**20)


@task("run.use_up_natively", isolation="process", memory="256MiB", max_attempts=1)
def use_up_natively(_ctx: Context, payload: Where) -> None:
    """Take memory in native code, none of it touched, until it is refused some; then end as such code does.

    With an amount, only so many MiB.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    taken = 0
    while (not payload.amount or taken < payload.amount) and libc.malloc(ctypes.c_size_t(2**20)):
        taken += 1
    os.abort()


@task("run.bad_alloc", isolation="process", memory="256MiB", max_attempts=1)
def bad_alloc(_ctx: Context) -> None:
    """Ask C++ for more than there is, at once."""
    new = ctypes.CDLL("libstdc++.so.6")["_Znwm"]
    new.restype = ctypes.c_void_p
    new(ctypes.c_size_t(2**40))


@task("run.map_and_crash", isolation="process", memory="256MiB", max_attempts=1)
def map_and_crash(_ctx: Context, payload: Where) -> None:
    """Read a file of so many MiB by mapping it, and crash for another reason."""
    with Path(payload.path).open("w+b") as file:
        file.truncate(payload.amount * 2**20)
        with mmap.mmap(file.fileno(), 0) as mapped:
            assert not mapped[::4096].strip(b"\0")
            ctypes.string_at(1)


@task("run.segfault", isolation="process", max_attempts=1)
def segfault(_ctx: Context) -> None:
    """Read what is not there."""
    ctypes.string_at(1)


@task("run.kill", isolation="process", max_attempts=1)
def kill(_ctx: Context) -> None:
    """Do what the kernel's out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("run.spin", isolation="process", cpu=1, max_attempts=1)
def spin(_ctx: Context) -> None:
    """Burn a core without end."""
    while True:
        pass


@task("run.small", isolation="process", memory="16MiB", max_attempts=3)
def small(_ctx: Context) -> None:
    """Have less memory than an interpreter needs."""


@task("run.garble", isolation="process", max_attempts=1)
def garble(_ctx: Context, payload: Where) -> str:
    """Write into every descriptor there is, standard ones aside."""
    for fd in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, b"\x00" * 40 if payload.amount else b"hello, is this thing on? " * 1000)
    time.sleep(3600)
    return "unheard"


@task("run.close", isolation="process", max_attempts=1)
def close(_ctx: Context) -> str:
    """Close every descriptor there is, as daemons do, and go on."""
    os.closerange(3, 256)
    time.sleep(3600)
    return "unheard"


@task("run.print", isolation="process", max_attempts=1)
def prints(_ctx: Context, payload: Where) -> str:
    """Say something, and then a lot."""
    print("a word from the handler \x1b[2J")  # noqa: T201
    print("and an error", file=sys.stderr)  # noqa: T201
    subprocess.run(["echo", "from a program"], check=True)
    for number in range(payload.amount):
        print("line", number)  # noqa: T201
    return "said"


ODD = "two\nlines \x1b[2J and \x00"


def say_all(ctx: Context) -> str:
    """Say something in every way there is."""
    ctx.log("by ctx.log", level="warning", rows=3, share=0.5, ok=True, none=None, path=Path("/x"), task="forged")
    ctx.log(ODD, text=ODD)
    logging.getLogger("x.library").info("by %s", "logging", extra={"rows": 4})
    logging.getLogger("x.library").debug("unheard")
    structlog.get_logger().warning("by structlog", rows=5)
    print("by print")  # noqa: T201
    print("by print to stderr", file=sys.stderr)  # noqa: T201
    try:
        raise ValueError("told with its line")
    except ValueError:
        logging.getLogger("x.library").exception("by logging an exception")
    return "said"


@task("run.say", max_attempts=1)
async def say(ctx: Context) -> str:
    """Say it on the loop."""
    return say_all(ctx)


@task("run.say_thread", max_attempts=1)
def say_thread(ctx: Context) -> str:
    """Say it in a thread."""
    return say_all(ctx)


@task("run.say_process", isolation="process", max_attempts=1)
def say_process(ctx: Context) -> str:
    """Say it in a process."""
    return say_all(ctx)


class Unprintable:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def harm(ctx: Context, lines: int) -> str:
    """Log what may not harm the task."""
    ctx.log(Unprintable(), level="nonsense", value=Unprintable(), number=10**5000, nan=float("nan"))  # type: ignore[arg-type]
    fields: dict[str, Any] = {f"name {n}" * 50: "value " * 10**4 for n in range(500)}
    ctx.log("long " * 10**6, **fields)
    for number in range(lines):
        ctx.log("flood", number=number)
    return "unharmed"


@task("run.harm", max_attempts=1)
async def harm_loop(ctx: Context, payload: Where) -> str:
    """Try on the loop."""
    return harm(ctx, payload.amount)


@task("run.harm_thread", max_attempts=1)
def harm_thread(ctx: Context, payload: Where) -> str:
    """Try in a thread."""
    return harm(ctx, payload.amount)


@task("run.harm_process", isolation="process", max_attempts=1)
def harm_process(ctx: Context, payload: Where) -> str:
    """Try in a process."""
    return harm(ctx, payload.amount)


@task("run.flood_and_die", isolation="process", max_attempts=1)
def flood_and_die(ctx: Context, payload: Where) -> None:
    """Log too much, wait until it was told, and be killed."""
    for number in range(payload.amount):
        ctx.log("flood", number=number)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


@task("run.log_from_everywhere", isolation="process", max_attempts=1)
def log_from_everywhere(ctx: Context) -> str:
    """Log and emit from threads, from a signal's handler in the middle of it, and from a forked process."""

    def interrupted(*_: object) -> None:
        ctx.emit("out", "a signal's handler ")
        ctx.log("in a signal's handler", text="y" * 2000)

    signal.signal(signal.SIGALRM, interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    def talk() -> None:
        for _ in range(2000):
            ctx.log("in a thread")
            ctx.emit("out", "a thread ")

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        ctx.progress(number)
        ctx.log("x" * 2000, text="x" * 2000)
        ctx.emit("out", "x" * 20)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join()
    if os.fork() == 0:
        logging.getLogger().warning("in a forked process")
        ctx.emit("out", "emitted by a forked process\n")
        os._exit(0)
    os.wait()
    return "said"


@task("run.stuck", timeout=0.1, max_attempts=1)
def stuck(_ctx: Context, payload: Where) -> None:
    """Wait in a thread for a file, whatever it is told."""
    while not Path(payload.path).exists():
        time.sleep(0.02)


@task("run.when", isolation="process")
def when(_ctx: Context) -> float:
    """Return when it was started, by the clock all processes share."""
    return time.monotonic()


class Niceness(BaseModel):
    """How far a process leaves the processor to others: by itself, a child of it, its session."""

    own: int
    child: int
    session: int | None = None
    """None: the kernel does not share the processor out by sessions."""


@task("run.nice", isolation="process", max_attempts=1)
def nice(ctx: Context) -> Niceness:
    """Tell; where others come first with the session, wait for it."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    child = int(subprocess.run(["nice"], check=True, capture_output=True, text=True).stdout)
    group = Path("/proc/self/autogroup")
    if not group.exists():
        return Niceness(own=own, child=child)
    while (session := int(group.read_text().split()[-1])) == 0:
        ctx.check()
        time.sleep(0.01)
    return Niceness(own=own, child=child, session=session)
