"""Handlers in processes of their own, seen from the worker."""

import asyncio
import itertools
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson

from milepost.runtime.logs import get_logger
from milepost_schemas import TaskError
from milepost_worker.execution.wire import LENGTH, NOTICE, REQUEST, Notice, Request, frame
from milepost_worker.outcome import Failed, Succeeded, ended

log = get_logger("milepost.worker.process")

NOTICE_WITHIN_S = 5.0
LAST_WORDS_S = 1.0

Progress = Callable[[float, float | None, str | None, str | None], None]


class Processes:
    """The worker's end of a fork server, started when first needed and again if it died."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = list(modules)
        self._runs = itertools.count()
        self._jobs: dict[int, ProcessJob] = {}
        self._server: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._notices: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def start(self, job: dict[str, Any], memory: int | None, progress: Progress) -> "ProcessJob":
        """Start an attempt in a new process; see `child.serve` for what `job` holds."""
        control = await self._connected()
        run = next(self._runs)
        ours, theirs = socket.socketpair()
        try:
            await self._send_start(control, run, theirs)
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(frame(job | {"memory": memory}))
        process = ProcessJob(self, run, reader, writer, memory, progress)
        self._jobs[run] = process
        process.finished.add_done_callback(lambda _: self._jobs.pop(run, None))
        return process

    async def stop(self) -> None:
        """End the fork server and with it every child that is left."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
        if self._notices is not None:
            self._notices.cancel()
            await asyncio.gather(self._notices, return_exceptions=True)
        if self._server is not None:
            try:
                async with asyncio.timeout(3):
                    await self._server.wait()
            except TimeoutError:
                self._server.kill()

    @staticmethod
    async def _send_start(control: socket.socket, run: int, theirs: socket.socket) -> None:
        while True:
            try:
                socket.send_fds(control, [REQUEST.pack(Request.START, run)], [theirs.fileno()])
            except BlockingIOError:
                # Hundreds of starts while the fork server still imports: it reads them when it is up.
                await asyncio.sleep(0.01)
            else:
                return

    def request(self, kind: Request, run: int) -> None:
        """Ask the fork server to signal the processes of a run; nothing if they are gone."""
        if self._control is not None:
            with suppress(OSError):
                self._control.sendall(REQUEST.pack(kind, run))

    async def _connected(self) -> socket.socket:
        async with self._starting:
            if self._control is not None:
                return self._control
            ours, theirs = socket.socketpair()
            try:
                self._server = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "milepost_worker.execution.forkserver",
                    str(theirs.fileno()),
                    *self._modules,
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                )
            finally:
                theirs.close()
            reader, _writer = await asyncio.open_connection(sock=ours.dup())
            self._notices = asyncio.create_task(self._listen(reader, _writer))
            self._control = ours
            return ours

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                notice, run, value, peak_kib = NOTICE.unpack(await reader.readexactly(NOTICE.size))
                job = self._jobs.get(run)
                if notice == Notice.EXITED and job is not None:
                    job.exited(value, peak_kib)
        except (asyncio.IncompleteReadError, OSError):
            log.warning("the fork server is gone; attempts in its processes fail, a new one is started when needed")
            self._control = None
            for job in list(self._jobs.values()):
                job.exited(-signal.SIGKILL, 0)
        finally:
            writer.close()


class ProcessJob:
    """One attempt in its process. It can always be ended."""

    def __init__(
        self,
        processes: Processes,
        run: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        memory: int | None,
        progress: Progress,
    ) -> None:
        self._processes = processes
        self._run = run
        self._writer = writer
        self._memory = memory
        self._progress = progress
        self._outcome: Succeeded | Failed | None = None
        self._loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[Succeeded | Failed] = self._loop.create_future()
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                message = orjson.loads(await reader.readexactly(size))
                if "progress" in message:
                    self._progress(*message["progress"])
                elif "result" in message:
                    self._outcome = Succeeded(message["result"])
                else:
                    self._outcome = Failed(TaskError.model_validate(message["error"]), message["delay"])
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writer.close()
            # The fork server's notice says how it ended; if that is gone too, silence has to do.
            self._loop.call_later(NOTICE_WITHIN_S, self.exited, -signal.SIGKILL, 0)

    def exited(self, status: int, peak_kib: int) -> None:
        """The process is gone with this exit status (negative: the signal that ended it)."""

        def settle(_: object) -> None:
            if not self.finished.done():
                self.finished.set_result(self._outcome or _crash(status, peak_kib, self._memory))

        # What it said before it went may still be in the socket. Something it started may hold that open for ever.
        self._reading.add_done_callback(settle)
        self._loop.call_later(LAST_WORDS_S, self._reading.cancel)

    def ask_to_stop(self) -> None:
        """Turn `cancelled` on in the child and cancel its coroutine."""
        with suppress(OSError, RuntimeError):
            self._writer.write(frame({"cancel": True}))

    def end(self) -> None:
        """Kill the process and what it started."""
        self._processes.request(Request.KILL, self._run)
        # If there is no fork server to do it, the child ends itself when its socket closes.
        self._writer.transport.abort()


def _crash(status: int, peak_kib: int, memory: int | None) -> Failed:
    peak = f"at its peak it held {peak_kib // 1024} MiB" + (f" of {memory // 2**20} allowed" if memory else "")
    if status < 0:
        name = signal.Signals(-status).name
        why = "often a sign of too little memory" if -status == signal.SIGKILL else "a crash in native code, mostly"
        return ended("Crashed", f"The handler's process was ended by {name} ({why}); {peak}.")
    return ended("Crashed", f"The handler's process exited with status {status} without a result; {peak}.")
