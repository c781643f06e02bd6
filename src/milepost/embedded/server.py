"""What Kafka, Postgres and Redis have in common: a managed process that is ready at some point."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path

from milepost.embedded.errors import ServerFailed
from milepost.embedded.processes import ManagedProcess

READY_TIMEOUT = 60.0
PROBE_TIMEOUT = 2.0
PROBE_PAUSE = 0.025


class Server(ABC):
    """One server of the stack: start, stop, and what fault tests do to it.

    Stopped or killed and started again, it keeps its port and its data.
    """

    advice = "read the log; if its data is damaged, remove its directory under the home and start again."

    def __init__(self, name: str, home: Path, port: int) -> None:
        self.name = name
        self.home = home
        self.port = port
        self._process: ManagedProcess | None = None

    @property
    def process(self) -> ManagedProcess:
        """Its process, made when first asked for."""
        if self._process is None:
            self._process = self._make_process()
        return self._process

    @property
    def pid(self) -> int:
        """Its pid; raises ProcessError when it does not run."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether its process runs, ready or not."""
        return self._process is not None and self._process.running

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises ServerFailed, with the end of its log, if it dies or takes too long; it is stopped then.
        """
        await self._prepare()
        await self.process.start()
        try:
            await self.ready()
        except BaseException:
            await self.process.stop()
            raise

    async def stop(self) -> None:
        """End it gracefully; does nothing when it does not run."""
        if self._process is not None:
            await self._process.stop()

    def kill(self) -> None:
        """Send SIGKILL. `await server.process.wait()` tells when it is gone; `start` waits by itself."""
        self.process.kill()

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open and nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """Send SIGCONT."""
        self.process.resume()

    async def ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until it answers in its own protocol.

        Raises ServerFailed if it dies, which is noticed at once, or does not answer for `timeout` seconds.
        """
        death = asyncio.ensure_future(self.process.wait())
        probing = asyncio.ensure_future(self._probe_until_ready(timeout))
        try:
            await asyncio.wait((death, probing), return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise self._failure(f"ended with status {death.result()} before it was ready")
            missing = probing.result()
            if missing is not None:
                raise self._failure(f"was not ready after {timeout:.0f} s: {missing}")
        finally:
            death.cancel()
            probing.cancel()
            await asyncio.wait((death, probing))

    async def _probe_until_ready(self, timeout: float) -> str | None:
        """Return None once it is ready, or what was missing last when the time is over."""
        deadline = time.monotonic() + timeout
        missing: str | None = "it did not answer"
        while True:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    missing = await self._probe()
            except (OSError, EOFError) as error:
                missing = f"{type(error).__name__}: {error}"
            if missing is None or time.monotonic() > deadline:
                return missing
            await asyncio.sleep(PROBE_PAUSE)

    def _failure(self, reason: str) -> ServerFailed:
        return ServerFailed(self.name, reason, self.process.log_path, self.process.log_tail(), self.advice)

    def _not_prepared(self, said: bytes, reason: str) -> ServerFailed:
        """Keep as its log what the tool that makes its directory said; return the error that shows the end of it."""
        log = self.home / "log" / f"{self.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(said)
        return ServerFailed(self.name, reason, log, said.decode(errors="replace").splitlines()[-20:], self.advice)

    @abstractmethod
    async def _prepare(self) -> None:
        """Make its directory and settings, if they are not there yet."""

    @abstractmethod
    def _make_process(self) -> ManagedProcess:
        """Return its process, not yet started. Called once, after `_prepare`."""

    @abstractmethod
    async def _probe(self) -> str | None:
        """Ask the server something; returns None if it is ready, else what is missing.

        May raise OSError (TimeoutError included) or EOFError while it is not there.
        """
