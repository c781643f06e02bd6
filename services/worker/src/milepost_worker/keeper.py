"""The keeper: a thread of the worker's own that no handler can hold up.

It has a loop and a connection to Postgres of its own. It holds the worker's presence lock, renews the leases, and sees
when the main loop does not turn. See docs/decisions/0005 and 0006.
"""

import asyncio
import faulthandler
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from milepost.domain.blocking import LEFT_AFTER_S, NAMED_AFTER_S
from milepost.errors import Unavailable
from milepost.runtime.lifecycle import background, jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost.store import GivenUp, Held, Session, opened_session
from milepost.store.hosts import Hosts
from milepost_worker.attempt import Attempt
from milepost_worker.blocked import Blocked
from milepost_worker.identity import Identity
from milepost_worker.running import Running

log = get_logger("milepost.worker.keeper")

HOLD_AGAIN_S = 0.25
STANDSTILL_S = 15.0
"""So long after its leases ran out a process in which no thread at all gets on ends itself."""
STOP_WITHIN_S = 5.0


class Keeper:
    """Keeps what is ours from a thread of its own. `start` and `stop` are for the main loop."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        running: Running,
        fenced: Callable[[list[Attempt]], None],
        cancelled: Callable[[list[Attempt]], None],
    ) -> None:
        """`fenced` and `cancelled` are called on the main loop: attempts that are not ours any more, or shall stop."""
        self._settings = settings
        self._identity = identity
        self._running = running
        self._fenced = fenced
        self._cancelled = cancelled
        self._hosts = Hosts(settings.database_url.get_secret_value())
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self.present = False
        """Whether the presence lock is held now."""
        self.connected = False
        """Whether the last renewal went through."""
        self.changed = asyncio.Event()
        """Of the main loop: set when `present` became another."""

    def start(self) -> None:
        """Start the thread; called on the main loop, in the main thread."""
        self._main = asyncio.get_running_loop()
        self._blocked = Blocked(self._settings, self._main, self._running, self.give_up)
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Let go of the presence and end the thread; bounded."""
        thread, loop = self._thread, self._loop
        if thread is None:
            return
        if loop is not None:
            with suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.to_thread(thread.join, STOP_WITHIN_S)

    async def give_up(self, rows: list[GivenUp]) -> set[Held]:
        """Leave tasks to the sweep, from the keeper's own loop. Raises Unavailable."""
        session = self._session
        if session is None:
            raise Unavailable("The keeper has no connection to Postgres.")
        return await session.store.abandon(rows)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._keep_all())

    async def _keep_all(self) -> None:
        async with background(
            ("presence and leases", self._keep), ("loop watch", self._blocked.watch), ("standstill", self._standstill)
        ):
            await self._stopping.wait()

    async def _keep(self) -> None:
        """Stay connected, hold the lock and renew, until cancelled."""
        tries = 0
        while True:
            try:
                async with opened_session(self._hosts) as session:
                    self._session = session
                    tries = 0
                    await self._keep_by(session)
            except Unavailable as error:
                log.warning("leases could not be renewed", error=str(error), tasks=len(self._running), tries=tries)
            finally:
                # The main loop says so by another connection, and takes it back when the lock is held again: so only a
                # worker that is gone altogether, or cut off, is found absent.
                self._is_present(present=False)
                self.connected = False
                self._session = None
            # At once the first time: a worker that is absent at two passes of a sweeper counts as dead.
            await asyncio.sleep(0.0 if tries == 0 else jittered(tries, base=0.1, cap=1.0))
            tries += 1

    async def _keep_by(self, session: Session) -> None:
        """Hold the lock and renew by one connection; raises Unavailable when it is of no use any more."""
        due, held = 0.0, not self._settings.presence
        while not session.lost.is_set():
            if not held and (held := await session.hold(self._identity.id)):
                self._is_present(present=True)
            now = time.monotonic()
            if now >= due:
                due = now + self._settings.renew
                await self._renew(session)
                self.connected = True
            wait_s = due - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait_s if held else min(wait_s, HOLD_AGAIN_S))):
                    await session.lost.wait()
        raise Unavailable("The connection to Postgres was cut.")

    async def _renew(self, session: Session) -> None:
        attempts = [attempt for attempt in self._running if not attempt.settling and not attempt.given_up]
        # From before the statement: the database's lease starts later than this, so it surely ends later too.
        until = time.monotonic() + self._settings.lease
        rows = [(attempt.held, attempt.trail.sent, attempt.trail.progress_json) for attempt in attempts]
        # With nothing to renew as well: so a connection that only seems to be one is found out.
        kept = {row.held: row.cancel for row in await session.store.renew(self._settings.lease, rows)}
        for attempt in attempts:
            if attempt.held in kept:
                # Here and not on the main loop, which must not find an old deadline when it was held up for long.
                attempt.lease_until = until
        self._tell(self._fenced, [attempt for attempt in attempts if attempt.held not in kept])
        self._tell(self._cancelled, [attempt for attempt in attempts if kept.get(attempt.held)])

    def _tell(self, callback: Callable[[list[Attempt]], None], attempts: list[Attempt]) -> None:
        if attempts:
            with suppress(RuntimeError):  # the main loop is closed: the process is about to end
                self._main.call_soon_threadsafe(callback, attempts)

    def _is_present(self, *, present: bool) -> None:
        if present != self.present:
            self.present = present
            with suppress(RuntimeError):
                self._main.call_soon_threadsafe(self.changed.set)

    async def _standstill(self) -> None:
        """Set the alarm anew, again and again: it goes off when no thread gets on, not even this one.

        So it is with native code that keeps the interpreter's lock for itself. The alarm needs no Python: it writes
        all stacks to standard error and ends the process.
        """
        bound = max(self._settings.lease, NAMED_AFTER_S + LEFT_AFTER_S) + STANDSTILL_S
        try:
            while True:
                faulthandler.dump_traceback_later(bound, exit=True, file=sys.__stderr__ or sys.stderr)
                await asyncio.sleep(1.0)
        finally:
            faulthandler.cancel_dump_traceback_later()
