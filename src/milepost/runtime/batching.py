"""Group commit: while one statement runs, what arrives is gathered for the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from milepost.errors import Unavailable

WAITING_MOST = 20_000
DRAIN_S = 10.0
"""Twenty thousand writes to a server that answers nothing would hold up a stop for minutes."""

REST_S = 0.004
"""Between two writes while each has more than `BUSY` items."""
BUSY = 3

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Turns many single calls into few batched ones without adding a wait.

    `write(items)` gets 1..limit items and returns one result each, in order. At most `lanes` writes run at once; a
    call that finds a free lane is written on the next turn of the loop, so a lonely item waits for nobody; after a
    write of several items the next gathers for `REST_S`.
    If a write of several items fails, each is tried alone, so that one bad item cannot fail its neighbours; a write
    that raised for `transient` reasons is not repeated, its error goes to every caller.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        limit: int = 500,
        lanes: int = 1,
        transient: Callable[[Exception], bool] = lambda _error: True,
    ) -> None:
        self._write = write
        self._limit = limit
        self._free = lanes
        self._transient = transient
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """That of the first item: to ask for the running one each time costs a system call."""

    async def __call__(self, item: T) -> R:
        """Write `item` with whoever else is waiting and return its own result; raises what the write raised.

        Raises Unavailable at once when too many wait.
        """
        return await self.put(item)

    def put(self, item: T) -> asyncio.Future[R]:
        """Let `item` be written, and return what will hold its result. Raises Unavailable when too many wait."""
        if len(self._waiting) >= WAITING_MOST:
            raise Unavailable(f"{WAITING_MOST:,} writes wait already. Nothing was stored; try again in a moment.")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append((item, future))
        if not self._scheduled and self._free:
            self._scheduled = True
            self._loop.call_soon(self._begin)
        return future

    async def drain(self, within_s: float = DRAIN_S) -> bool:
        """Wait until everything handed in is written or has failed; False if `within_s` seconds were too few."""
        try:
            async with asyncio.timeout(within_s):
                while self._running or self._waiting:
                    if self._running:
                        await asyncio.wait(set(self._running))
                    else:
                        await asyncio.sleep(0)
        except TimeoutError:
            return False
        return True

    def _begin(self) -> None:
        self._scheduled = False
        while self._free and self._waiting:
            # Nobody waits any more for what was given up: writing it would surprise them.
            self._waiting = [each for each in self._waiting if not each[1].done()]
            batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            self._busy = len(batch) > BUSY
            if not batch:
                return
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._commit(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        if self._busy and len(self._waiting) < self._limit:
            # In a stream of items a statement costs more than the items in it: a few milliseconds make the next fuller.
            if not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_later(REST_S, self._begin)
        else:
            self._begin()

    async def _commit(  # noqa: C901 - four ways a write can end, side by side
        self, batch: list[tuple[T, asyncio.Future[R]]]
    ) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - every caller gets it
            if len(batch) > 1 and not self._transient(error):
                for one in batch:
                    await self._commit([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
