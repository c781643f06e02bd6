"""How a client of aiokafka ends: politely if the broker answers, by force if not, and leaving nothing behind."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from milepost.runtime.logs import get_logger

log = get_logger("milepost.log.ending")

POLITE_S = 2.0
FORCE_S = 1.0
_PARTS = ("client", "_client", "_coordinator", "_fetcher", "_sender", "_message_accumulator", "_txn_manager")


async def end(client: Any) -> None:
    """Stop a consumer, producer or admin client within about `POLITE_S` + `FORCE_S` seconds. Raises nothing of its own.

    `stop` waits for a broker that may be gone, and once it is cut off in the middle aiokafka forgets what else it had
    to end: a fetcher, a heartbeat, connections, each of which goes on for ever. So what is left is ended here, also
    when the caller is cancelled meanwhile.
    """
    stopping = asyncio.create_task(_stop(client))
    try:
        await asyncio.wait({stopping}, timeout=POLITE_S)
    finally:
        await _force(client, stopping)


async def _stop(client: Any) -> None:
    await (client.close() if hasattr(client, "close") else client.stop())


async def _force(client: Any, stopping: "asyncio.Task[None]") -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + FORCE_S
    ours = {id(part) for part in _parts(client)}
    cancelled: BaseException | None = None
    while loop.time() < until:
        left = {task for task in _tasks(ours) if not task.done()}
        if not stopping.done():
            left.add(stopping)
        # After the tasks, so that none opens another; before waiting, so that reading ends at once.
        for task in left:
            task.cancel()
        _close_connections(client)
        if not left:
            break
        try:
            # A task that swallows its cancellation is cancelled once more; aiokafka's do so while they reconnect.
            await asyncio.wait(left, timeout=0.1)
        except asyncio.CancelledError as error:
            cancelled = error
    else:
        log.warning("a Kafka client did not end and is left alone", client=type(client).__name__)
    if stopping.done() and not stopping.cancelled():
        stopping.exception()  # a broker that is away is no news here
    if cancelled is not None:
        raise cancelled


def _parts(client: Any) -> Iterator[Any]:
    """Yield the client and the objects it is made of, each of which may run tasks."""
    yield client
    for name in _PARTS:
        part = getattr(client, name, None)
        if part is not None:
            yield part


def _tasks(owners: set[int]) -> Iterator["asyncio.Task[Any]"]:
    """Yield tasks of this loop that run a method of one of the owners: aiokafka keeps no list of them all."""
    me = asyncio.current_task()
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if task is not me and frame is not None and id(frame.f_locals.get("self")) in owners:
            yield task


def _close_connections(client: Any) -> None:
    inner = getattr(client, "_client", None) or getattr(client, "client", None)
    for connection in list(getattr(inner, "_conns", {}).values()):
        with contextlib.suppress(Exception):
            connection.close()
