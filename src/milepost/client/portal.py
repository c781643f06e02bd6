"""A thread with an event loop, and calls into it from other threads."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from milepost.errors import ClientError

T = TypeVar("T")
ENDING_S: Final = 2.0
"""Who is interrupted waits so long for what it had begun to end."""
_END: Final[Any] = object()


class Portal:
    """Runs coroutines for threads that wait for them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        """Held by who hands something to the loop and who takes the loop away: nothing is handed over after that."""
        self._letting_go: set[asyncio.Task[object]] = set()

    @property
    def running(self) -> bool:
        """Whether there is a loop to run things in."""
        return self._loop is not None

    def open(self) -> None:
        """Begin the thread. It does not keep the process alive."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread. Whoever still waits gets ClientError."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns; cancel it if the wait is interrupted, as by Ctrl-C.

        Raises ClientError when the client is not open, is closed meanwhile, or is called on its own thread.
        """
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        running: list[asyncio.Task[T]] = []

        def start() -> None:
            task = asyncio.get_running_loop().create_task(coroutine)
            running.append(task)
            task.add_done_callback(lambda task: _settle(task, outcome))

        def cancel() -> None:  # in the loop, after `start` if that was handed over at all
            if running:
                running[0].cancel()
            else:
                coroutine.close()
                outcome.set_exception(ClientError("This call was interrupted before it began."))

        try:  # around the handing over too: Ctrl-C does not wait for a good moment
            refusal = self._hand_over(start)
            if refusal is None:
                return outcome.result()
        except BaseException:
            if not outcome.done() and self._hand_over(cancel) is None:  # it is this thread that was interrupted
                concurrent.futures.wait([outcome], timeout=ENDING_S)
            raise
        coroutine.close()
        raise ClientError(refusal)

    def _hand_over(self, step: Callable[[], None]) -> str | None:
        """Have the loop take a step; return why it cannot, None if it will."""
        with self._lock:
            if self._loop is None:
                return "The client is not open. Write `with SyncClient() as client:`."
            if threading.current_thread() is self._thread:
                return "This runs on the client's own thread, which cannot wait for itself. Use an async Client here."
            self._loop.call_soon_threadsafe(step)
        return None

    def each(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an async iterator yields; end it with the iteration, however that ends."""
        try:
            while (item := self.wait(_next(source))) is not _END:
                yield item
        finally:
            if self.running and (close := getattr(source, "aclose", None)) is not None:
                self._let_go(close())

    def _let_go(self, closing: Coroutine[Any, Any, None]) -> None:
        """Wait for this to end, unless it is the loop's own thread that threw the iteration away (as garbage)."""
        if threading.current_thread() is self._thread:
            task = asyncio.get_running_loop().create_task(closing)
            self._letting_go.add(task)
            task.add_done_callback(self._letting_go.discard)
        else:
            self.wait(closing)


async def _next(source: AsyncIterator[T]) -> T | Any:
    return await anext(source, _END)


def _settle(task: asyncio.Task[T], outcome: "concurrent.futures.Future[T]") -> None:
    if task.cancelled():
        outcome.set_exception(ClientError("The client was closed while this call was waiting."))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
