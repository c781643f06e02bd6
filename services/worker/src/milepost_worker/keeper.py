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
from functools import partial

from milepost.domain.blocking import LEFT_AFTER_S, NAMED_AFTER_S
from milepost.domain.presence import Absence
from milepost.errors import NoServer, Unavailable
from milepost.runtime.lifecycle import background, jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import RENEWALS_FAILED
from milepost.runtime.settings import Settings
from milepost.store import GivenUp, Held, Session, open_session
from milepost.store.hosts import Hosts
from milepost_worker.attempt import Attempt, StopReason
from milepost_worker.blocked import Blocked
from milepost_worker.identity import Identity
from milepost_worker.running import Running

log = get_logger("milepost.worker.keeper")

HOLD_AGAIN_S = 0.25
HURRIED_S = 0.5
"""A host has so long to take a connection while others may find this worker absent: there must be time for several."""
HURRIED_BETWEEN_S = 0.15
LOOK_S = 0.05
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
        absent: Callable[[list[Attempt]], None],
    ) -> None:
        """All three are called on the main loop.

        With attempts that are not ours any more, that shall stop, and that may not be ours for much longer.
        """
        self._settings = settings
        self._identity = identity
        self._running = running
        self._fenced = fenced
        self._cancelled = cancelled
        self._absent = absent
        self._absence = Absence()
        self._hosts = Hosts(settings.database_url.get_secret_value())
        self._session: Session | None = None
        self._holder: Session | None = None
        """What holds the presence lock."""
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

    def told(self) -> None:
        """Say that Postgres was told `present` while it was False: nobody misses the lock. Called on the main loop."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._is_told)

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
            ("presence and leases", self._keep),
            ("absence", self._stop_in_time),
            ("loop watch", self._blocked.watch),
            ("standstill", self._standstill),
        ):
            await self._stopping.wait()

    async def _keep(self) -> None:
        """Stay connected, hold the lock and renew, until cancelled."""
        last: Session | None = None
        tries = 0
        try:
            while True:
                try:
                    session = await self._connect()
                    if last is not None:
                        last.close()
                    last, tries = session, 0
                    await self._keep_by(session)
                except Unavailable as error:
                    RENEWALS_FAILED.add(1)
                    log.warning("leases could not be renewed", error=str(error), tasks=len(self._running), tries=tries)
                finally:
                    self.connected = False
                    self._session = None
                # At once the first time: others may find the lock free from now on.
                await asyncio.sleep(self._wait_s(tries))
                tries += 1
        finally:
            if last is not None:
                last.close()

    async def _connect(self) -> Session:
        asked = time.monotonic()
        try:
            session = await open_session(self._hosts, self._settings.lease, HURRIED_S if self._hurries() else None)
        except NoServer as error:
            self._absence.no_server(asked, gone=error.gone)
            raise
        session.when_lost(partial(self._is_lost, session))
        return session

    def _hurries(self) -> bool:
        """Whether handlers can go on if there is another connection soon."""
        back_by = self._absence.back_by()
        return back_by is not None and time.monotonic() < back_by

    def _wait_s(self, tries: int) -> float:
        if tries == 0:
            return 0.0
        return HURRIED_BETWEEN_S if self._hurries() else jittered(tries, base=0.1, cap=1.0)

    async def _keep_by(self, session: Session) -> None:
        """Hold the lock and renew by one connection; raises Unavailable when it is of no use any more."""
        self._session = session
        try:
            await self._hold_and_renew(session)
        except Unavailable as error:
            # One that only answers too late is kept until there is another: it may well hold the lock.
            if not isinstance(error.__cause__, TimeoutError):
                session.close()
            raise

    async def _hold_and_renew(self, session: Session) -> None:
        due, held = 0.0, not self._settings.presence
        while not session.lost.is_set():
            takes = not held and await session.hold(self._identity.id)
            now = time.monotonic()
            if takes or now >= due:
                due = now + self._settings.renew
                await self._renew(session)
                self.connected = True
            if takes:
                # Only now: what was taken back until we held it is known to be somebody else's.
                held = True
                self._is_held(session)
            wait_s = due - time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait_s if held else min(wait_s, HOLD_AGAIN_S))):
                    await session.lost.wait()
        raise Unavailable("The connection to Postgres was cut.")

    def _is_held(self, session: Session) -> None:
        if not session.lost.is_set():
            self._holder = session
            self._absence.over()
            self._is_present(present=True)

    def _is_lost(self, session: Session) -> None:
        """Postgres lets go of the lock about now.

        The main loop says so by another connection, and takes it back when the lock is held again: so only a worker
        that is gone altogether, or cut off, is found absent.
        """
        if session is self._holder:
            self._holder = None
            self._absence.lost(time.monotonic())
            self._is_present(present=False)

    def _is_told(self) -> None:
        if not self.present:
            self._absence.over()

    async def _stop_in_time(self) -> None:
        """Stop handlers before somebody else starts their tasks, who finds the lock free; until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            back_by, gone_by = self._absence.back_by(), self._absence.gone_by()
            if back_by is None or gone_by is None or time.monotonic() < back_by:
                continue
            late = [each for each in self._running if each.lease_until > gone_by and not each.settling]
            for attempt in late:
                # From this thread: it ends processes, and the worker if its loop is blocked.
                attempt.lease_until = gone_by
            self._tell(self._absent, late)

    async def _renew(self, session: Session) -> None:
        # Not what was stopped because its lease nears its end: it will be somebody else's.
        attempts = [
            attempt
            for attempt in self._running
            if not attempt.settling and not attempt.given_up and attempt.reason is not StopReason.LEASE_LOST
        ]
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
