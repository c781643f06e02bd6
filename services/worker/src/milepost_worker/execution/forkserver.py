"""The process that children are forked from: task modules are imported once, and it has no threads of its own.

    python -m milepost_worker.execution.forkserver SOCKET_FD MODULE...

When its socket closes, the worker is gone: it kills every child and ends.
"""

import os
import selectors
import signal
import socket
import sys
from contextlib import suppress

from milepost.tasks.registry import load
from milepost_worker.execution import child
from milepost_worker.execution.wire import NOTICE, REQUEST, Notice, Request


class ForkServer:
    """Serves requests until the worker goes away."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pids: dict[int, int] = {}
        self._runs: dict[int, int] = {}
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def serve(self) -> None:
        """Serve; returns when the worker is gone."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            # The worker decides when children stop, also when a terminal sends Ctrl-C to all of us.
            signal.signal(number, signal.SIG_IGN)
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(self._wake_read, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._control:
                        if not self._request():
                            return
                    else:
                        with suppress(BlockingIOError):
                            os.read(self._wake_read, 4096)
                        self._reap()
        finally:
            for pid in self._runs:
                _signal(pid, signal.SIGKILL)

    def _request(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, REQUEST.size, 1, socket.MSG_WAITALL)
        if len(data) < REQUEST.size:
            return False
        kind, run = REQUEST.unpack(data)
        if kind == Request.START:
            self._fork(run, fds[0])
        elif run in self._pids:
            _signal(self._pids[run], signal.SIGTERM if kind == Request.TERMINATE else signal.SIGKILL)
        return True

    def _fork(self, run: int, fd: int) -> None:
        try:
            pid = os.fork()
        except OSError:
            # No process or memory left: that attempt fails, the others go on.
            os.close(fd)
            self._notify(Notice.EXITED, run, 1, 0)
            return
        if pid == 0:
            status = 1
            try:
                self._control.close()
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                os.setsid()
                child.serve(socket.socket(fileno=fd))
                status = 0
            finally:
                os._exit(status)
        os.close(fd)
        self._pids[run], self._runs[pid] = pid, run
        self._notify(Notice.STARTED, run, pid, 0)

    def _reap(self) -> None:
        while self._runs:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            run = self._runs.pop(pid, None)
            if run is None:
                continue
            # What the handler itself started is in its session: none of it outlives the attempt.
            _signal(pid, signal.SIGKILL)
            del self._pids[run]
            self._notify(Notice.EXITED, run, os.waitstatus_to_exitcode(status), usage.ru_maxrss)

    def _notify(self, notice: Notice, run: int, value: int, peak_kib: int) -> None:
        with suppress(OSError):
            self._control.sendall(NOTICE.pack(notice, run, value, peak_kib))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def main() -> None:
    """Import the task modules named and serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    if "" not in sys.path:
        sys.path.insert(0, "")
    load(sys.argv[2:])
    ForkServer(control).serve()


if __name__ == "__main__":
    main()
