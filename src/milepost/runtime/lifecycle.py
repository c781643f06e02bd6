"""How a process starts, keeps its loops alive and stops."""

import asyncio
import gc
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from milepost.errors import MilepostError
from milepost.runtime.logs import get_logger

log = get_logger("milepost.lifecycle")


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


def run(main: Callable[[Shutdown], Coroutine[Any, Any, None]]) -> int:
    """Run a service until SIGTERM or SIGINT; return the exit status. uvloop is used where it is installed."""

    async def body() -> None:
        shutdown = Shutdown()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, shutdown.ask)
        # Requests and events make objects that live for milliseconds and hang in no cycle; what was loaded stays.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        await main(shutdown)

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
    return 0


def jittered(attempt: int, *, base: float = 0.1, cap: float = 5.0) -> float:
    """Return seconds to wait before reconnect number `attempt` (0 is the first): full jitter, capped."""
    return random.uniform(base / 2, min(cap, base * 2.0 ** min(attempt, 30)))  # noqa: S311 - spread, not secrecy


async def keep_running(name: str, body: Callable[[], Awaitable[None]]) -> None:
    """Run `body` again whenever it ends or raises, with capped, jittered waits; ends only by cancellation."""
    attempt = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await body()
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
