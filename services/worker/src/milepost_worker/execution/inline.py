"""Handlers that share the worker's process: coroutines on its loop, plain functions in its threads."""

import asyncio
import threading
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from milepost.domain.whole import check_exact
from milepost.tasks.definition import TaskDefinition
from milepost_worker.execution.job import RESULT_BYTES
from milepost_worker.outcome import Failed, Succeeded, ended, failure


def encode_result(definition: TaskDefinition, value: Any) -> Succeeded | Failed:
    """Return a handler's value as the outcome it makes: its JSON text, or why there is none."""
    try:
        text = definition.result.dump_json(value)
        check_exact(text)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - any value may come back
        return ended("InvalidResult", f"The result cannot be written as JSON: {error}", retryable=False)
    if len(text) > RESULT_BYTES:
        size = f"{len(text) / 2**20:.1f} MiB, more than {RESULT_BYTES // 2**20} MiB"
        return ended("ResultTooLarge", f"The result is {size}. Store it elsewhere and return where.", retryable=False)
    return Succeeded(text.decode())


async def call(definition: TaskDefinition, arguments: tuple[Any, ...]) -> Succeeded | Failed:
    """Run a coroutine handler in this asyncio task. Cancelling the task cancels the handler, which may swallow that."""
    try:
        return encode_result(definition, await definition.handler(*arguments))
    except asyncio.CancelledError:
        return ended("Cancelled", "The handler was cancelled.")
    except BaseException as error:  # noqa: BLE001 - also SystemExit: it ends the attempt, not the worker
        return failure(error, definition.retry)


class ThreadJob:
    """A plain function in a thread of its own. It can only be asked; a thread that does not look cannot be ended.

    No pool: there, a thread that never ends would keep attempts waiting that count as running, and run them when
    they are long over; and the process could not exit while one is left.
    """

    def __init__(self, definition: TaskDefinition, arguments: tuple[Any, ...]) -> None:
        self._loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[Succeeded | Failed] = self._loop.create_future()
        work = partial(copy_context().run, self._run, definition, arguments)
        threading.Thread(target=work, name=f"task {definition.type}", daemon=True).start()

    def _run(self, definition: TaskDefinition, arguments: tuple[Any, ...]) -> None:
        try:
            outcome = encode_result(definition, definition.handler(*arguments))
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it ends the attempt, not the worker
            outcome = failure(error, definition.retry)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Succeeded | Failed) -> None:
        if not self.finished.done():
            self.finished.set_result(outcome)

    def ask_to_stop(self) -> None:
        """Nothing beyond `Context.cancelled`."""

    def end(self) -> None:
        """Not possible for a thread."""

    def keep_until(self, until: float) -> None:
        """Nothing: the worker watches its own leases."""
