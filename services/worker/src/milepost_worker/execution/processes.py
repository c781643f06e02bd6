"""The worker's end of its fork server: kept ready, and replaced at once when it dies."""

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from milepost.errors import MilepostError
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger, level_name
from milepost_worker.execution.board import LeaseBoard
from milepost_worker.execution.job import Tells
from milepost_worker.execution.postmortem import Limits
from milepost_worker.execution.process import ProcessJob
from milepost_worker.execution.wire import LOST, NOTICE, REQUEST, Ending, Notice, Request, Why

log = get_logger("milepost.worker.processes")

READY_WITHIN_S = 30.0
STEADY_S = 30.0
"""A fork server that lived for so long is replaced at once; one that did not, after a growing wait."""
STOP_WITHIN_S = 7.0
AGAIN_S = 0.01


Kept = Callable[[Callable[[float], None]], None]


class NoForkServerError(MilepostError):
    """There is no fork server: attempts that need a process cannot start now."""


class Processes:
    """Starts attempts in processes of their own. As a context manager it keeps a fork server while the block runs."""

    def __init__(self, modules: Sequence[str], *, warm: bool = True, nice: int = 0) -> None:
        """Serve the tasks of `modules`; without `warm` the fork server is started when it is first needed.

        Handlers log from the level that this process logs from when they begin; theirs are `nice`r than this one.
        """
        self._nice = nice
        self._modules = list(modules)
        self._warm = warm
        self._runs = itertools.count(1)
        self._jobs: dict[int, ProcessJob] = {}
        self._board = LeaseBoard()
        self._control: socket.socket | None = None
        self._ready = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._warm:
            self._keep_one()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})

    async def start(
        self, job: dict[str, Any], limits: Limits, tells: Tells, lease_until: float, kept: Kept | None = None
    ) -> ProcessJob:
        """Start an attempt in a new process; see `child.serve` for what `job` holds.

        `kept` is given what moves the lease on as soon as there is one: the rest of the start may be held up.
        Raises NoForkServerError when none comes up in time, OSError when this process has no descriptors left.
        """
        self._keep_one()
        while True:
            try:
                async with asyncio.timeout(READY_WITHIN_S):
                    await self._ready.wait()
            except TimeoutError:
                message = "The fork server does not come up; its log says why. The attempt was not started."
                raise NoForkServerError(message) from None
            control = self._control
            if control is not None:
                with suppress(BrokenPipeError, ConnectionResetError):
                    return await self._start(control, job, limits, tells, lease_until, kept)
                # It has just died; its replacement is on its way.
                self._ready.clear()

    async def _start(
        self,
        control: socket.socket,
        job: dict[str, Any],
        limits: Limits,
        tells: Tells,
        lease_until: float,
        kept: Kept | None,
    ) -> ProcessJob:
        run = next(self._runs)
        place = self._board.take(lease_until)
        if kept is not None:
            kept(partial(self._board.write, place))
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            await _send_start(control, run, place, theirs.fileno(), write)
        except BaseException:
            ours.close()
            os.close(read)
            self._board.give_back(place)
            raise
        finally:
            theirs.close()
            os.close(write)
        process = ProcessJob(self, run, place, limits, tells)
        # Before anything is awaited: its end may be told at once.
        self._jobs[run] = process
        process.finished.add_done_callback(lambda _: self._over(run, place))
        try:
            await process.connect(
                ours, os.fdopen(read, "rb", buffering=0), job | {"log_level": level_name(), "nice": self._nice}
            )
        except BaseException:
            self.request(Request.KILL, run, place)
            raise
        if self._control is not control:
            process.exited(LOST)
        return process

    def _over(self, run: int, place: int) -> None:
        del self._jobs[run]
        self._board.give_back(place)

    def keep_until(self, place: int, until: float) -> None:
        """Let the run of a place go on until then, by `time.monotonic`. Safe from any thread."""
        self._board.write(place, until)

    def request(self, kind: Request, run: int, place: int) -> None:
        """Ask for a run to be ended; nothing if it is gone."""
        if self._control is None or run not in self._jobs:
            return
        try:
            self._control.sendall(REQUEST.pack(kind, run, place))
        except BlockingIOError:
            asyncio.get_running_loop().call_later(AGAIN_S, self.request, kind, run, place)
        except OSError:
            pass  # the fork server is gone, and its runs with it

    def _keep_one(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            began = loop.time()
            try:
                await self._serve()
            except OSError as error:
                log.warning("the fork server could not be started", error=str(error))
            tries = 0 if loop.time() - began > STEADY_S else tries + 1
            if tries > 1:
                await asyncio.sleep(jittered(tries))

    async def _serve(self) -> None:
        """Start a fork server and hear what it says, until it is gone; then everything it ran is."""
        ours, theirs = socket.socketpair()
        with theirs:
            server = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "milepost_worker.execution.forkserver",
                *map(str, (os.getpid(), theirs.fileno(), self._board.fd)),
                *self._modules,
                pass_fds=[theirs.fileno(), self._board.fd],
                stdin=asyncio.subprocess.DEVNULL,
            )
        reader, writer = await asyncio.open_connection(sock=ours.dup())
        self._control = ours
        try:
            await self._listen(reader, server.pid)
        finally:
            self._ready.clear()
            self._control = None
            ours.close()
            writer.transport.abort()
            await self._bury(server)

    async def _listen(self, reader: asyncio.StreamReader, pid: int) -> None:
        began = asyncio.get_running_loop().time()
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                notice, run, status, peak_kib, cpu_ms, why, data_kib = NOTICE.unpack(
                    await reader.readexactly(NOTICE.size)
                )
                if notice == Notice.READY:
                    took = round(asyncio.get_running_loop().time() - began, 3)
                    log.info("fork server ready", pid=pid, seconds=took)
                    self._ready.set()
                elif run in self._jobs:
                    self._jobs[run].exited(Ending(status, peak_kib, cpu_ms, Why(why), data_kib))
        log.warning("the fork server is gone; attempts in its processes fail, another is started", pid=pid)

    async def _bury(self, server: asyncio.subprocess.Process) -> None:
        for job in list(self._jobs.values()):
            job.exited(LOST)
        # Its socket is closed: it ends what is left below it, and then itself.
        waiting = asyncio.ensure_future(server.wait())
        done, _ = await asyncio.wait({waiting}, timeout=STOP_WITHIN_S)
        if not done:
            log.warning("the fork server does not end and is killed", pid=server.pid)
            with suppress(ProcessLookupError):
                server.kill()
            await waiting


async def _send_start(control: socket.socket, run: int, place: int, *fds: int) -> None:
    while True:
        try:
            socket.send_fds(control, [REQUEST.pack(Request.START, run, place)], fds)
        except BlockingIOError:
            # Hundreds of starts at once: it reads on when it has forked those before.
            await asyncio.sleep(AGAIN_S)
        else:
            return
