"""Until when each run may go on, in memory that the worker writes and wardens read.

Memory, because it needs nobody awake: a worker that was stopped (SIGSTOP), is blocked or cut off writes nothing more,
and what it wrote last is what holds.
"""

import mmap
import os
import struct
import tempfile
import time
from contextlib import suppress

_TIME = struct.Struct("d")
PLACES = 16_384
"""Twice over what a worker can run at once (MILEPOST_CONCURRENCY is at most 10,000)."""


MARGIN_S = 0.5
MARGIN_PART = 0.15
"""Of a lease; a short one must still outlive the time between two renewals, which may be half of it."""


class LeaseBoard:
    """A time for each place, by `time.monotonic`, which is one clock for all processes of a machine."""

    def __init__(self, fd: int | None = None) -> None:
        """Make a board, or open the one another process made."""
        if fd is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(PLACES * _TIME.size)
                fd = os.dup(file.fileno())
        self.fd = fd
        self._memory = mmap.mmap(fd, PLACES * _TIME.size)
        self._free = list(range(PLACES - 1, -1, -1))

    def take(self, until: float) -> int:
        """Return a place of one's own, with a time in it."""
        place = self._free.pop()
        self.write(place, until)
        return place

    def give_back(self, place: int) -> None:
        """Let somebody else have it, but as late as possible: a warden that is not done yet still reads it."""
        self._free.insert(0, place)

    def write(self, place: int, until: float) -> None:
        """Put down until when a lease holds. Safe from any thread.

        A run may go on a little less than that: what has to be ended must be gone when somebody else may begin.
        """
        early = min(MARGIN_S, MARGIN_PART * max(0.0, until - time.monotonic()))
        _TIME.pack_into(self._memory, place * _TIME.size, until - early)

    def left(self, place: int) -> float:
        """Return seconds a run may go on, negative when it may not."""
        until: float = _TIME.unpack_from(self._memory, place * _TIME.size)[0]
        return until - time.monotonic()

    def close(self) -> None:
        """Unmap it here."""
        self._memory.close()
        with suppress(OSError):
            os.close(self.fd)
