"""One attempt in a process of its own."""

import asyncio
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from milepost.tasks.context import SENT_EVERY_S, Context
from milepost.tasks.definition import TaskDefinition
from milepost.tasks.registry import registry
from milepost_worker.execution.inline import encode_result
from milepost_worker.execution.wire import LENGTH, frame
from milepost_worker.outcome import Failed, Succeeded, ended, failure, refused_payload


class _Parent:
    """The worker, at the other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        data = frame(message)
        with self._lock:
            self._connection.sendall(data)

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None when the worker is gone."""
        head = self._exactly(LENGTH.size)
        body = self._exactly(LENGTH.unpack(head)[0]) if head else None
        if body is None:
            return None
        message: dict[str, Any] = orjson.loads(body)
        return message

    def waits(self, seconds: float) -> bool:
        """Whether something can be received within so many seconds."""
        return bool(select.select([self._connection], [], [], seconds)[0])

    def _exactly(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            with suppress(InterruptedError):
                part = self._connection.recv(size - len(parts))
                if not part:
                    return None
                parts += part
        return bytes(parts)


def serve(connection: socket.socket) -> None:
    """Receive one job, run it, send its outcome. Ends itself when the worker is gone."""
    parent = _Parent(connection)
    job = parent.receive()
    if job is None:
        return
    limit = job["memory"]
    if limit is not None:
        # Data and not address space: mapping a large file costs no memory, and JITs reserve more than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    definition = registry.get(job["type"])
    if definition is None:
        parent.send(_as_message(ended("UnknownType", f"The fork server knows no task {job['type']!r}.")))
        return
    context = Context(
        id=UUID(job["id"]),
        type=job["type"],
        queue=job["queue"],
        tenant=job["tenant"],
        attempt=job["attempt"],
        max_attempts=job["max_attempts"],
        labels=job["labels"],
        trace_id=job["trace_id"],
        _sink=lambda *update: parent.send({"progress": update}),
    )
    stop: list[Callable[[], object]] = []
    threading.Thread(target=_listen, args=(parent, context, stop), daemon=True).start()
    try:
        outcome = _run(definition, context, job["payload"], stop)
    except MemoryError:
        outcome = _out_of_memory(limit)
    context.flush(final=True)
    parent.send(_as_message(outcome))


def _run(
    definition: TaskDefinition, context: Context, payload_json: str, stop: list[Callable[[], object]]
) -> Succeeded | Failed:
    try:
        payload = definition.payload.validate_json(payload_json)
    except ValidationError as error:
        return refused_payload(error)
    arguments = definition.arguments(context, payload)
    try:
        value = (
            asyncio.run(_coroutine(definition, arguments, stop))
            if definition.asynchronous
            else definition.handler(*arguments)
        )
    except MemoryError:
        raise
    except asyncio.CancelledError:
        return ended("Cancelled", "The handler was cancelled.")
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, also SystemExit
        return failure(error, definition.retry)
    return encode_result(definition, value)


async def _coroutine(definition: TaskDefinition, arguments: tuple[Any, ...], stop: list[Callable[[], object]]) -> Any:
    task = asyncio.ensure_future(definition.handler(*arguments))
    loop = asyncio.get_running_loop()
    stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
    return await task


def _listen(parent: _Parent, context: Context, stop: list[Callable[[], object]]) -> None:
    while True:
        if not parent.waits(SENT_EVERY_S):
            context.flush()
            continue
        if parent.receive() is None:
            # Nobody is left to hear the outcome, and nobody to end us later.
            os.kill(os.getpid(), signal.SIGKILL)
        context.cancel()
        for cancel in stop:
            with suppress(RuntimeError):
                cancel()


def _out_of_memory(limit: int | None) -> Failed:
    bound = "this machine has" if limit is None else f"the {limit // 2**20} MiB this task may take"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return ended(
        "OutOfMemory", f"The handler wanted more memory than {bound}; at its peak the process held {peak} MiB."
    )


def _as_message(outcome: Succeeded | Failed) -> dict[str, Any]:
    if isinstance(outcome, Succeeded):
        return {"result": outcome.result}
    return {"error": outcome.error.model_dump(), "delay": outcome.delay}
