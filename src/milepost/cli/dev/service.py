"""A service as a child process: started, watched, started again."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from milepost.embedded import EmbeddedError, ManagedProcess
from milepost.errors import MilepostError

READY_S: Final = 60.0
_PROBE_EVERY_S: Final = 0.1
_BACKOFF_CAP_S: Final = 10.0
_GOOD_S: Final = 30.0
"""A process that lived so long starts again at once."""

Probe = Callable[[ManagedProcess], Awaitable[bool]]
"""Whether the process serves already. Raises nothing."""


class ServiceFailed(MilepostError):
    """A service did not start; the message holds the end of its log."""


class Service:
    """One process of ours. `keep` holds it up; `stop` ends it; `reload` replaces it by a new one."""

    def __init__(self, process: ManagedProcess, probe: Probe, say: Callable[[str], None]) -> None:
        self.process = process
        self._probe = probe
        self._say = say
        self._stopping = False
        self._reloading = asyncio.Event()
        self._changing = asyncio.Lock()
        """Held while the process is started or ended: one that has no pid yet cannot be told to end."""

    @property
    def name(self) -> str:
        """Of its log and its pid file."""
        return self.process.name

    async def start(self) -> None:
        """Start it and wait until it serves. Raises ServiceFailed if it ends or takes longer than a minute."""
        async with self._changing:
            if self._stopping:
                raise ServiceFailed(f"{self.name} is being stopped, so it was not started.")
            await self.process.start()
        ready = asyncio.create_task(self._until_ready())
        end = asyncio.create_task(self.process.wait())
        try:
            async with asyncio.timeout(READY_S):
                await asyncio.wait((ready, end), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise ServiceFailed(self._account(f"was not ready after {READY_S:g} s")) from None
        finally:
            ready.cancel()
            end.cancel()
            await asyncio.gather(ready, end, return_exceptions=True)
        if not ready.done() or ready.cancelled():
            raise ServiceFailed(self._account(f"{ending(self.process.returncode)} before it was ready"))

    async def keep(self) -> None:
        """Start it again whenever it ends, with growing waits; ends once it is being stopped."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            status = await self.process.wait()
            if self._stopping:
                return
            if not self._reloading.is_set():
                failures = 0 if loop.time() - began > _GOOD_S else failures + 1
                wait = 0.0 if failures == 0 else min(_BACKOFF_CAP_S, 0.25 * 2.0**failures)
                when = f"in {wait:.1f} s" if wait else "at once"
                self._say(f"{self.name} {ending(status)}; it starts again {when}. Its log: {self.process.log_path}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._reloading.wait()
            if self._stopping:
                return
            self._reloading.clear()
            began = loop.time()
            try:
                await self.start()
                self._say(f"{self.name} is back after {loop.time() - began:.1f} s, as pid {self.process.pid}")
            except (ServiceFailed, EmbeddedError) as error:
                # One that was still starting when the code changed again was ended by us, and fails at nothing.
                if not self._reloading.is_set():
                    self._say(str(error))

    async def reload(self) -> None:
        """Let it end as it does on SIGTERM; `keep` starts it anew."""
        self._reloading.set()
        async with self._changing:
            await self.process.stop()

    async def stop(self) -> None:
        """End it for good."""
        self._stopping = True
        self._reloading.set()
        async with self._changing:
            await self.process.stop()

    def kill(self) -> None:
        """End it this moment."""
        self._stopping = True
        with contextlib.suppress(EmbeddedError):
            self.process.kill()

    async def _until_ready(self) -> None:
        while not await self._probe(self.process):  # noqa: ASYNC110 - another process cannot set an Event
            await asyncio.sleep(_PROBE_EVERY_S)

    def _account(self, what: str) -> str:
        tail = "\n".join(f"  | {line}" for line in self.process.log_tail(15)) or "  | (it wrote nothing)"
        return f"{self.name} {what}. The end of {self.process.log_path}:\n{tail}"


def ending(status: int | None) -> str:
    """Return how a process ended, in words: of its status, below 0 the signal that ended it."""
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
