"""The process that attempts are forked from: task modules are imported once, and it has no threads of its own.

    python -m milepost_worker.execution.forkserver WORKER_PID SOCKET_FD BOARD_FD MODULE...

For each attempt it forks a warden, and the warden the process of the handler. When the worker ends, however it does,
the kernel kills the fork server, and with that wakes the wardens, which end their trees. When its socket closes it ends
everything itself.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from functools import partial

from milepost.tasks.registry import load
from milepost_worker.execution import child, warden
from milepost_worker.execution.board import LeaseBoard
from milepost_worker.execution.kernel import adopt_orphans, die_with, end_descendants
from milepost_worker.execution.traced import prepare
from milepost_worker.execution.wire import LOST, NO_PROCESS, NOTICE, REQUEST, Notice, Request


class ForkServer:
    """Serves requests until the worker goes away."""

    def __init__(self, control: socket.socket, board: LeaseBoard) -> None:
        self._control = control
        self._board = board
        self._wardens: dict[int, int] = {}
        self._runs: dict[int, int] = {}
        self._told: set[int] = set()
        self._wake_read, self._wake_write = os.pipe()
        self._report_read, self._report_write = os.pipe()
        for end in (self._wake_read, self._wake_write, self._report_read):
            os.set_blocking(end, False)

    def serve(self) -> None:
        """Serve; returns when the worker is gone."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            # The worker decides when attempts stop, also when a terminal sends Ctrl-C to all of us.
            signal.signal(number, signal.SIG_IGN)
        adopt_orphans()
        selector = selectors.DefaultSelector()
        for source in (self._control, self._wake_read, self._report_read):
            selector.register(source, selectors.EVENT_READ)
        self._notify(NOTICE.pack(Notice.READY, 0, *LOST))
        try:
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._control:
                        if not self._request():
                            return
                    elif key.fileobj == self._wake_read:
                        with suppress(BlockingIOError):
                            os.read(self._wake_read, 4096)
                        self._reap()
                    else:
                        self._relay()
        finally:
            end_descendants()

    def _request(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, REQUEST.size, 2, socket.MSG_WAITALL)
        if len(data) < REQUEST.size:
            return False
        kind, run, place = REQUEST.unpack(data)
        if kind == Request.START:
            self._fork(run, place, *fds)
        elif run in self._wardens:
            number = warden.TERMINATE if kind == Request.TERMINATE else warden.KILL
            with suppress(ProcessLookupError):
                os.kill(self._wardens[run], number)
        return True

    def _fork(self, run: int, place: int, connection: int, output: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, warden.SIGNALS)
        us = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            # No process or memory left: that attempt fails, the others go on.
            self._notify(NOTICE.pack(Notice.EXITED, run, *NO_PROCESS))
        else:
            if pid == 0:
                try:
                    self._become_warden(us, run, place, connection, output)
                except BaseException:  # noqa: BLE001 - nothing may go on as a second fork server
                    traceback.print_exc()
                finally:
                    os._exit(1)
            self._wardens[run], self._runs[pid] = pid, run
        finally:
            os.close(connection)
            os.close(output)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, warden.SIGNALS)

    def _become_warden(self, us: int, run: int, place: int, connection: int, output: int) -> None:
        # Whoever holds the control socket keeps the worker from seeing that the fork server is gone.
        self._control.close()
        signal.set_wakeup_fd(-1)
        for end in (self._wake_read, self._wake_write, self._report_read):
            os.close(end)
        handler = partial(self._become_handler, connection, output)
        warden.Warden(run, place, self._board, self._report_write, connection, output).watch(us, handler)

    def _become_handler(self, connection: int, output: int, faults: int) -> None:
        os.close(self._report_write)
        self._board.close()
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        child.serve(socket.socket(fileno=connection), faults)

    def _relay(self) -> None:
        """Hand on what wardens reported."""
        while True:
            try:
                # Whole ones: each was written in one piece, and so many fit exactly.
                data = os.read(self._report_read, NOTICE.size * 64)
            except BlockingIOError:
                return
            for at in range(0, len(data), NOTICE.size):
                notice = data[at : at + NOTICE.size]
                self._told.add(NOTICE.unpack(notice)[1])
                self._notify(notice)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._runs.pop(pid, None)
            if run is None:
                continue
            del self._wardens[run]
            self._relay()
            if run in self._told:
                self._told.remove(run)
                continue
            # The warden was killed: the kernel killed the handler's process with it, and what that left is ours now.
            end_descendants(spare=self._runs)
            self._notify(NOTICE.pack(Notice.EXITED, run, *LOST))

    def _notify(self, notice: bytes) -> None:
        with suppress(OSError):
            self._control.sendall(notice)


def main() -> None:
    """Import the task modules named and serve."""
    worker, control, board = map(int, sys.argv[1:4])
    if not die_with(worker, signal.SIGKILL):
        return
    if "" not in sys.path:
        sys.path.insert(0, "")
    load(sys.argv[4:])
    prepare()
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        message = (
            f"milepost fork server: importing task modules started threads ({names}); children will not have them\n"
        )
        sys.stderr.write(message)
    # What was imported is shared by all children as long as nobody writes to it; collecting garbage would.
    gc.collect()
    gc.freeze()
    ForkServer(socket.socket(fileno=control), LeaseBoard(board)).serve()


if __name__ == "__main__":
    main()
