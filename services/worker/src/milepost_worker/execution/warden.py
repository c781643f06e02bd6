"""The process that watches over one attempt: parent of the handler's process, and of all below it that loses its own.

It ends the whole tree when the handler's process ends, when the fork server tells it to or is gone, and when the lease
ran out, whatever has become of the worker. It runs none of the task's code, so nothing a handler does can keep it from
that; if it is killed itself, the kernel kills the handler's process, and the fork server what that leaves.
"""

import gc
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from milepost_worker.execution.board import LeaseBoard
from milepost_worker.execution.faults import Faults
from milepost_worker.execution.kernel import adopt_orphans, die_with, end_descendants
from milepost_worker.execution.wire import NO_PROCESS, NOTICE, Ending, Notice, Why

TERMINATE = signal.SIGTERM
"""Sent to a warden: ask the handler's process group to end by SIGTERM, kill it after KILL_AFTER_S."""
KILL = signal.SIGUSR2
"""Sent to a warden: end everything at once. The kernel sends it when the fork server ends."""
KILL_AFTER_S = 1.0
LOOK_S = 0.25
"""Between two looks at the lease: it may be cut short, and nobody wakes a warden for that."""
SIGNALS = frozenset({signal.SIGCHLD, TERMINATE, KILL})
"""Blocked while a warden is forked and until it can take them."""


class Warden:
    """Watches one run.

    `report` is the pipe to the fork server, `connection` and `output` are descriptors of the handler's process.
    """

    def __init__(self, run: int, place: int, board: LeaseBoard, report: int, connection: int, output: int) -> None:
        self._run = run
        self._place = place
        self._board = board
        self._report = report
        self._connection = connection
        self._output = output
        self._faults = Faults()
        self._why = Why.ITSELF
        self._pid = 0
        self._kill_at: float | None = None

    def watch(self, fork_server: int, handler: Callable[[int], None]) -> NoReturn:
        """Run `handler` in a child of this process and watch over it to its end; see Faults for what it is given."""
        gc.disable()
        os.setsid()
        adopt_orphans()
        wakeups, wake = os.pipe()
        for end in (wakeups, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        if not die_with(fork_server, KILL):
            os._exit(1)
        try:
            self._pid = self._fork(handler)
        except OSError:
            self._tell(NO_PROCESS)
            os._exit(1)
        os.close(self._connection)
        self._faults.for_warden()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._loop(wakeups)
        os._exit(0)

    def _fork(self, handler: Callable[[int], None]) -> int:
        warden = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS | {signal.SIGINT}:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.setsid()
            if die_with(warden, signal.SIGKILL):
                handler(self._faults.for_handler())
                status = 0
        except BaseException:  # noqa: BLE001 - nothing may go on as a second warden
            traceback.print_exc()
        finally:
            os._exit(status)

    def _loop(self, wakeups: int) -> None:
        while True:
            left = min(self._board.left(self._place), LOOK_S)
            now = time.monotonic()
            if left <= 0:
                self._kill(Why.LEASE)
                left = KILL_AFTER_S
            if self._kill_at is not None:
                if now >= self._kill_at:
                    self._kill(Why.ASKED)
                left = min(left, max(self._kill_at - now, 0.001))
            heard: list[int | Faults] = [wakeups, self._faults] if self._faults.open else [wakeups]
            if self._faults in select.select(heard, [], [], left)[0]:
                self._faults.look(self._pid)
                self._faults.hear()
            with suppress(BlockingIOError):
                self._heed(os.read(wakeups, 4096))
            if self._reap():
                return

    def _heed(self, signals: bytes) -> None:
        if KILL in signals:
            self._kill(Why.ASKED)
        elif TERMINATE in signals and self._kill_at is None:
            self._why = Why.ASKED
            self._kill_at = time.monotonic() + KILL_AFTER_S
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGTERM)
                # A stopped process takes no other signal but the one that kills it.
                os.killpg(self._pid, signal.SIGCONT)

    def _kill(self, why: Why) -> None:
        if self._why is Why.ITSELF:
            self._why = why
        with suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)

    def _reap(self) -> bool:
        """Reap what ended; whether that was the handler's process: then everything else is ended, and it is told."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._pid:
                end_descendants()
                self._faults.hear()
                self._faults.hand_on(self._output)
                cpu_ms = int((usage.ru_utime + usage.ru_stime) * 1000)
                exited = os.waitstatus_to_exitcode(status)
                self._tell(Ending(exited, usage.ru_maxrss, cpu_ms, self._why, self._faults.data // 1024))
                return True

    def _tell(self, ending: Ending) -> None:
        with suppress(OSError):
            os.write(self._report, NOTICE.pack(Notice.EXITED, self._run, *ending))
