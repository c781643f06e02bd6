"""What the fault handler of a process writes when a signal ends it, and how much memory it has at that moment.

A process that is gone has no memory to look at, and the kernel keeps no account of what a limit bounds. So the fault
handler writes into a connection that holds only a few words: until its warden has read them the process waits, whole,
in the middle of its end.
"""

import os
import select
import socket
import time
from contextlib import suppress
from typing import Final

from milepost_worker.execution.kernel import data_bytes

TEXT_BYTES: Final = 16 * 1024
HAND_ON_WITHIN_S: Final = 1.0
_PIECE: Final = select.PIPE_BUF
"""Whatever a pipe that takes something takes without blocking."""


class Faults:
    """The connection. The warden makes it before it forks; each of the two keeps its own end."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(0)
        # The kernel makes the least of it that it allows: some five short writes.
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.open = True
        """Whether there may be more to hear."""
        self.data = 0
        """Bytes the process had, of what RLIMIT_DATA bounds, when it last wrote; 0 if it wrote nothing or was gone."""
        self._text = bytearray()

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._ours.fileno()

    def for_handler(self) -> int:
        """Return the descriptor for the fault handler, in the handler's process: the other end is closed there."""
        self._ours.close()
        return self._theirs.detach()

    def for_warden(self) -> None:
        """Close the handler's end, in the warden."""
        self._theirs.close()

    def look(self, pid: int) -> None:
        """Look at the memory of the process, which has written and not been reaped."""
        self.data = data_bytes(pid) or self.data

    def hear(self) -> None:
        """Take what was written, which lets the process go on."""
        with suppress(BlockingIOError, OSError):
            while data := self._ours.recv(4096):
                self._text += data[: TEXT_BYTES - len(self._text)]
            self.open = False

    def hand_on(self, output: int) -> None:
        """Write what was heard to the output of the process, as far as that is read in time, and close it."""
        until = time.monotonic() + HAND_ON_WITHIN_S
        with suppress(OSError):
            while self._text and select.select([], [output], [], max(0.0, until - time.monotonic()))[1]:
                del self._text[: os.write(output, self._text[:_PIECE])]
        os.close(output)
