"""How a process starts, keeps its loops alive and stops."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from milepost.errors import MilepostError
from milepost.runtime.logs import flush, get_logger

log = get_logger("milepost.lifecycle")

END_WITHIN_S = 5.0
"""So long a process may take for its own end once everything is done."""


class Shutdown:
    """Whether the process was asked to stop: once is a drain, twice is a hurry."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.hurry = asyncio.Event()

    def ask(self) -> None:
        """Ask once more."""
        if self.requested.is_set():
            self.hurry.set()
        self.requested.set()


def run(main: Callable[[Shutdown], Coroutine[Any, Any, None]], *, collect_after: int = 200_000) -> int:
    """Run a service until SIGTERM or SIGINT; return the exit status. uvloop is used where it is installed.

    `collect_after` so many new objects Python looks for those that hang in cycles.
    """

    async def body() -> None:
        shutdown = Shutdown()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, shutdown.ask)
        _allow_files()
        # Requests and events make objects that live for milliseconds and hang in no cycle; what was loaded stays.
        gc.freeze()
        gc.set_threshold(collect_after, 20, 50)
        try:
            await main(shutdown)
        finally:
            alarm.start()

    # What is left of tasks and threads is ended by asyncio without a bound; a task that swallows its cancellation, or a
    # thread that a handler waits in, would keep the process until somebody kills it.
    alarm = threading.Timer(END_WITHIN_S, _end_now)
    alarm.daemon = True
    try:
        try:
            import uvloop
        except ImportError:
            asyncio.run(body())
        else:
            uvloop.run(body())
    except MilepostError as error:
        print(f"milepost: {error}", file=sys.stderr)  # noqa: T201 - before or instead of logs
        return 1
    finally:
        alarm.cancel()
    return 0


def _allow_files() -> None:
    """Take as many open files, and so connections, as the system allows; it gives 1,024 to who does not ask."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS has a bound of its own below what it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _end_now() -> None:
    threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
    log.error("everything is done, but something does not end; the process ends now", threads=threads)
    sys.stderr.flush()
    os._exit(0)


def leave_threads(status: int) -> None:
    """End the process with `status` if threads are left that would keep it: those of handlers, mostly. Call it last."""
    left = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    if left:
        log.info("threads are left behind", threads=left)
        flush()
        sys.stderr.flush()
        os._exit(status)


def jittered(attempt: int, *, base: float = 0.1, cap: float = 5.0) -> float:
    """Return seconds to wait before reconnect number `attempt` (0 is the first): full jitter, capped."""
    return random.uniform(base / 2, min(cap, base * 2.0 ** min(attempt, 30)))  # noqa: S311 - spread, not secrecy


async def first_of(*waits: Coroutine[Any, Any, Any], within_s: float) -> None:
    """Wait until one of several waits is over, for at most `within_s` seconds; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def keep_running(name: str, body: Callable[[], Awaitable[None]]) -> None:
    """Run `body` again whenever it ends or raises, with capped, jittered waits; ends only by cancellation."""
    attempt = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            # In a task of its own: what leaves that marked as cancelled is not taken for a wish to end the loop.
            await asyncio.ensure_future(body())
            attempt = 0
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a loop that dies silently is the worst
            if not _cancelled():
                attempt = 0 if loop.time() - began > 30 else attempt + 1
                log.warning("loop failed, will be started again", loop=name, error=repr(error), attempt=attempt)
        if _cancelled():
            raise asyncio.CancelledError
        await asyncio.sleep(jittered(attempt))


def _cancelled() -> bool:
    """Whether somebody cancelled this task, also when a library swallowed that (aiokafka's clients do, in stop)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@asynccontextmanager
async def background(*bodies: tuple[str, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Keep named loops running while the block runs; cancel them and wait for their end after it.

    A loop that does not end is cancelled again every second, and left alone after five.
    """
    tasks = {asyncio.create_task(keep_running(name, body), name=name) for name, body in bodies}
    try:
        yield
    finally:
        left = tasks
        for _ in range(5):
            for task in left:
                task.cancel()
            if not left:
                break
            _, left = await asyncio.wait(left, timeout=1.0)
        if left:
            log.warning("loops did not end and are left alone", loops=sorted(task.get_name() for task in left))
