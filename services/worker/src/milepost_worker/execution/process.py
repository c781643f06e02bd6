"""One attempt in a process of its own, seen from the worker."""

import asyncio
import socket
from contextlib import suppress
from io import RawIOBase
from typing import Any, Protocol

import orjson
from pydantic import ValidationError

from milepost.runtime.logs import get_logger
from milepost.runtime.tracing import hand_on
from milepost_schemas import TaskError
from milepost_worker.execution.job import Tells
from milepost_worker.execution.kernel import oom_kills
from milepost_worker.execution.output import Output
from milepost_worker.execution.postmortem import Limits, postmortem
from milepost_worker.execution.wire import LOST, Ending, GarbledError, Kind, Request, json_frame, read_frame
from milepost_worker.outcome import Failed, Succeeded, ended

log = get_logger("milepost.worker.process")

EXIT_WITHIN_S = 5.0
"""After the child closed its connection; later it is killed."""
LAST_WORDS_S = 1.0
"""For what a process said before it ended to be read."""


class Parent(Protocol):
    """What a job asks of those who started it."""

    def request(self, kind: Request, run: int, place: int) -> None:
        """Have the run ended."""

    def keep_until(self, place: int, until: float) -> None:
        """Let the run go on until then."""


class ProcessJob:
    """An attempt in its process. It can always be ended."""

    def __init__(self, parent: Parent, run: int, place: int, limits: Limits, tells: Tells) -> None:
        self._parent = parent
        self._run = run
        self._place = place
        self._limits = limits
        self._tells = tells
        self._said: Succeeded | Failed | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ending] = self._loop.create_future()
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._output: Output | None = None
        self._oom_kills = oom_kills()
        self.finished: asyncio.Future[Succeeded | Failed] = asyncio.ensure_future(self._outcome())

    async def connect(self, connection: socket.socket, output: RawIOBase, job: dict[str, Any]) -> None:
        """Hand the job over and begin to listen."""
        bound = log.bind(task=job["id"], type=job["type"])
        _, self._output = await self._loop.connect_read_pipe(lambda: Output(bound), output)
        reader, self._writer = await asyncio.open_connection(sock=connection)
        self._writer.write(json_frame(Kind.JOB, job))
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                self._take(*await read_frame(reader))
        except (asyncio.IncompleteReadError, OSError):
            self._loop.call_later(EXIT_WITHIN_S, self._overdue)
        except (GarbledError, ValueError, TypeError, LookupError, ValidationError) as error:
            if self._said is None:
                why = f"Something in the handler's process wrote into the connection that Milepost uses: {error}."
                self._said = ended("Garbled", why)
            self._parent.request(Request.KILL, self._run, self._place)

    def _take(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.PROGRESS:
            done, total, unit, message = orjson.loads(body)
            self._tells.progress(done, total, unit, message)
        elif kind is Kind.LOG:
            # Bounded once more, also in number: what was cut and counted over there is what the handler left alone.
            level, said, fields, library = orjson.loads(body)
            self._tells.log.add(level, said, dict(fields), library=library is True)
        elif kind is Kind.OUTPUT:
            channel, chunk, missing = orjson.loads(body)
            self._tells.output(str(channel), str(chunk), max(0, int(missing)))
        elif kind is Kind.SPANS:
            hand_on(body)
        elif kind is Kind.LEFT_OUT:
            self._tells.log.leave_out(max(0, int(orjson.loads(body))))
        elif self._said is not None:
            raise GarbledError("a second outcome came")
        elif kind is Kind.RESULT:
            self._said = Succeeded(body.decode())
        else:
            message = orjson.loads(body)
            delay = message["delay"]
            self._said = Failed(TaskError.model_validate(message["error"]), None if delay is None else float(delay))

    def exited(self, ending: Ending) -> None:
        """The process is gone, with everything it started."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def _overdue(self) -> None:
        if not self._ended.done():
            if self._said is None:
                self._said = ended("Garbled", "The handler's process closed the connection that Milepost uses.")
            self._parent.request(Request.KILL, self._run, self._place)
            self._loop.call_later(EXIT_WITHIN_S, self.exited, LOST)

    async def _outcome(self) -> Succeeded | Failed:
        ending = await self._ended
        # What it said before it went may still be in the pipes.
        waiting: set[asyncio.Future[Any]] = {f for f in (self._reading, self._output and self._output.closed) if f}
        if waiting:
            _, pending = await asyncio.wait(waiting, timeout=LAST_WORDS_S)
            for each in pending:
                each.cancel()
        self._close()
        if self._said is not None:
            return self._said
        before, now = self._oom_kills, oom_kills()
        oom_killed = before is not None and now is not None and now > before
        tail = bytes(self._output.lines.tail).decode("utf-8", "replace") if self._output else ""
        return postmortem(ending, self._limits, tail, oom_killed=oom_killed)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        if self._output is not None:
            self._output.close()

    def ask_to_stop(self) -> None:
        """Turn `cancelled` on in the child and cancel its coroutine."""
        if self._writer is not None:
            with suppress(OSError, RuntimeError):
                self._writer.write(json_frame(Kind.CANCEL, None))

    def end(self) -> None:
        """Send SIGTERM to the process and what it started; a second later everything left is killed."""
        self._parent.request(Request.TERMINATE, self._run, self._place)

    def keep_until(self, until: float) -> None:
        """Let it go on until shortly before then, by `time.monotonic`; whatever becomes of us, it is ended then."""
        self._parent.keep_until(self._place, until)
