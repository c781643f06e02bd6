"""One attempt in a process of its own, with the limits of its task."""

import asyncio
import faulthandler
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn
from uuid import UUID

import orjson
from pydantic import ValidationError

from milepost.tasks.context import Context
from milepost.tasks.definition import TaskDefinition
from milepost.tasks.loglines import HandlerLog, LibraryLine, LogLine
from milepost.tasks.output import HandlerOutput
from milepost.tasks.registry import registry
from milepost_worker.execution.bridges import bridge
from milepost_worker.execution.inline import encode_result
from milepost_worker.execution.kernel import data_bytes, give_way, group_gives_way, offer_to_the_oom_killer
from milepost_worker.execution.postmortem import LESS, MORE
from milepost_worker.execution.traced import Traced
from milepost_worker.execution.wire import BOUNDS, HEAD, Kind, frame, json_frame
from milepost_worker.outcome import (
    MESSAGE_CHARS,
    Failed,
    Succeeded,
    clean,
    ended,
    failure,
    refused_payload,
)
from milepost_worker.trail import UNIT_CHARS

_MIB: Final = 2**20
_LAST_WORDS: Final = 16 * _MIB
"""Bytes beyond the memory limit that are kept for saying that it was reached."""
_LEAST_ROOM: Final = 4 * _MIB
ROUND_S: Final = 0.1
"""Between two looks at what was held back: progress, lines that were left out."""
OUTPUT_EVERY_S: Final = 0.03
"""Chunks closer together than this go to the worker as one, which waits some more for others to join them."""
EMITTING_S: Final = 1.0


class _Worker:
    """The worker, at the other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._sending = self._sending_output = False
        self.output = HandlerOutput(self._emitted, lock=self._lock)
        self._emitted_at = 0.0
        self._output_at = 0.0

    def send(self, data: bytes) -> bool:
        """Send a frame; False if this thread is in the middle of another one, as one that handles a signal may be."""
        with self._lock:
            if self._sending:
                return False
            self._sending = True
            try:
                # A worker that is gone is noticed by whoever listens.
                with suppress(OSError):
                    self._connection.sendall(data)
            finally:
                self._sending = False
        return True

    def progress(self, done: Any, total: Any, unit: Any, message: Any, /) -> None:
        """Send an update."""
        self.send_output()
        self.send(_progress(done, total, unit, message))

    def log(self, line: LogLine, /) -> None:
        """Send a line of the handler."""
        self.send_output()
        if not self.send(json_frame(Kind.LOG, (*line, isinstance(line, LibraryLine)))):
            raise BlockingIOError

    def left_out(self, log: HandlerLog) -> None:
        """Tell how many lines were left out since this was told last."""
        with self._lock:  # around the taking too: whoever tells the outcome next must not be first
            if (lines := log.take_left_out()) and not self.send(json_frame(Kind.LEFT_OUT, lines)):
                log.leave_out(lines)

    def _emitted(self) -> None:
        self._emitted_at = now = time.monotonic()
        if now >= self._output_at:
            self.send_output()

    def send_output(self, *, final: bool = False) -> None:
        """Send what was emitted and not sent yet."""
        if not self.output.pending and not final:
            return
        with self._lock:  # pieces of two threads keep their order
            if self._sending or self._sending_output:
                return  # a signal's handler came in between; the next round sends it
            self._sending_output = True
            try:
                self._output_at = time.monotonic() + OUTPUT_EVERY_S
                for piece in self.output.take(final=final):
                    self.send(json_frame(Kind.OUTPUT, tuple(piece)))
            finally:
                self._sending_output = False

    @property
    def round_s(self) -> float:
        """How long what was held back may wait: less while the handler emits."""
        return OUTPUT_EVERY_S if time.monotonic() - self._emitted_at < EMITTING_S else ROUND_S

    def receive(self) -> tuple[int, bytes] | None:
        """Return kind and body of the next frame; None when the worker is gone."""
        head = self._exactly(HEAD.size)
        if head is None:
            return None
        _, kind, length, _ = HEAD.unpack(head)
        body = self._exactly(length)
        return None if body is None else (kind, body)

    def waits(self, seconds: float) -> bool:
        """Whether something can be received within so many seconds."""
        return bool(select.select([self._connection], [], [], seconds)[0])

    def _exactly(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            part = self._connection.recv(size - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)


def serve(connection: socket.socket, faults: int) -> None:
    """Receive one job, run it, send its outcome. Ends itself when the worker is gone.

    Into the descriptor `faults` goes what there is to say when a signal ends this process.
    """
    worker = _Worker(connection)
    received = worker.receive()
    if received is None:
        return
    job = orjson.loads(received[1])
    _prepare(faults)
    nice = 0 if give_way(job["nice"]) else job["nice"]
    definition = registry.get(job["type"])
    if definition is None:
        worker.send(_as_frame(ended("UnknownType", f"The fork server knows no task {job['type']!r}.")))
        return
    log = HandlerLog(worker.log)
    bridge(log, job["log_level"])
    context = Context(
        id=UUID(job["id"]),
        type=job["type"],
        queue=job["queue"],
        tenant=job["tenant"],
        attempt=job["attempt"],
        max_attempts=job["max_attempts"],
        labels=job["labels"],
        trace_id=job["trace_id"],
        epoch=job["epoch"],
        _sink=worker.progress,
        _log=log,
        _output=worker.output.add,
    )
    traced = None if job["run"] is None else Traced(job, worker.send)
    # In what the handler forks in turn nobody can tell whose turn it is to use the connection.
    os.register_at_fork(after_in_child=partial(_apart, context, log))
    stop: list[Callable[[], object]] = []
    # Before the limit: a thread's stack counts against it.
    threading.Thread(target=_listen, args=(worker, context, log, stop, nice, traced), daemon=True).start()
    outcome = _limit(definition) or _run(definition, context, job["payload"], stop)
    context.flush(final=True)
    worker.send_output(final=True)
    worker.left_out(log)
    if traced is not None:
        traced.send()
    worker.send(_as_frame(outcome))
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _prepare(faults: int) -> None:
    offer_to_the_oom_killer()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable(faults, all_threads=False)
    signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def _apart(context: Context, log: HandlerLog) -> None:
    log.forked(_print)
    context.emit_to(_print_chunk)


def _print_chunk(_channel: str, chunk: str, /) -> None:
    os.write(1, chunk.encode("utf-8", "replace"))


def _print(line: LogLine, /) -> None:
    os.write(2, f"{line.level}: {line.message} {line.fields or ''}\n".encode())


def _terminated(_number: int, _frame: object) -> NoReturn:
    """Let `finally` and `with` do their work: there is a second until SIGKILL."""
    sys.exit("terminated")


def _limit(definition: TaskDefinition) -> Failed | None:
    """Set the limits of a task; return why it cannot run within them, None if it can."""
    if definition.cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (definition.cpu_s, definition.cpu_s + 1))
    limit = definition.memory
    if limit is None:
        return None
    held = data_bytes()
    if held + _LEAST_ROOM > limit:
        message = (
            f"memory={limit // _MIB} MiB is too little: with the task modules imported a process has "
            f"{held // _MIB} MiB before the handler begins. Allow more, or import less."
        )
        return ended("MemoryLimitTooLow", message, retryable=False)
    # Data and not address space: mapping a large file costs no memory, and JITs reserve more than they use. It is
    # inherited by what the handler starts, each of which may have as much.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit + _LAST_WORDS))
    return None


def _run(
    definition: TaskDefinition, context: Context, payload_json: str, stop: list[Callable[[], object]]
) -> Succeeded | Failed:
    try:
        return _handle(definition, context, payload_json, stop)
    except MemoryError as error:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        said = str(error)
        # The traceback holds the frames, and those what filled the memory.
        error.__traceback__ = None
    return _out_of_memory(definition.memory, said)


def _handle(
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
        return encode_result(definition, value)
    except MemoryError:
        raise
    except asyncio.CancelledError:
        return ended("Cancelled", "The handler was cancelled.")
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, also SystemExit
        return failure(error, definition.retry)


async def _coroutine(definition: TaskDefinition, arguments: tuple[Any, ...], stop: list[Callable[[], object]]) -> Any:
    task = asyncio.ensure_future(definition.handler(*arguments))
    loop = asyncio.get_running_loop()
    stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
    return await task


def _listen(
    worker: _Worker,
    context: Context,
    log: HandlerLog,
    stop: list[Callable[[], object]],
    nice: int,
    traced: Traced | None,
) -> None:
    while True:
        # With the memory at its limit anything may fail here; the next round may have more.
        with suppress(MemoryError):
            try:
                if not worker.waits(worker.round_s):
                    context.flush()
                    worker.send_output()
                    worker.left_out(log)
                    if traced is not None:
                        traced.send()
                    if nice and group_gives_way(nice):
                        nice = 0
                    continue
                received = worker.receive()
            except OSError:
                return  # the handler closed what is not its own, which the worker notices
            if received is None:
                # Nobody is left to hear the outcome.
                os.kill(os.getpid(), signal.SIGKILL)
            context.cancel()
            for cancel in stop:
                with suppress(RuntimeError):
                    cancel()


def _out_of_memory(limit: int | None, said: str) -> Failed:
    bound = "this machine has" if limit is None else f"the {limit // _MIB} MiB its task may take"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    detail = f" ({clean(said, 200)})" if said else ""
    held = f"at its peak the process held {peak} MiB. {LESS if limit is None else MORE}"
    return ended("OutOfMemory", f"The handler wanted more memory than {bound}{detail}; {held}")


def _progress(done: Any, total: Any, unit: Any, message: Any) -> bytes:
    """Return a frame of what a handler said. What JSON cannot carry goes as text, and the worker leaves it out."""
    shown = (
        unit if unit is None else clean(str(unit), UNIT_CHARS),
        message if message is None else clean(str(message), MESSAGE_CHARS),
    )
    return json_frame(Kind.PROGRESS, (_number(done), _number(total), *shown))


def _number(value: Any) -> Any:
    return value if value is None or (type(value) in {int, float} and abs(value) < 2**63) else str(value)[:100]


def _as_frame(outcome: Succeeded | Failed) -> bytes:
    if isinstance(outcome, Succeeded):
        return frame(Kind.RESULT, outcome.result.encode())
    data = json_frame(Kind.FAILED, {"error": outcome.error.model_dump(), "delay": outcome.delay})
    if len(data) - HEAD.size > BOUNDS[Kind.FAILED]:
        short = outcome.error.model_copy(update={"traceback": None})
        data = json_frame(Kind.FAILED, {"error": short.model_dump(), "delay": outcome.delay})
    return data
