"""What the kernel offers so that no process outlives those it works for; on Linux, elsewhere hardly anything."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LINUX: Final = sys.platform == "linux"
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if _LINUX else None
_PROC: Final = Path("/proc")

END_WITHIN_S: Final = 5.0
"""A process that is killed and still there after so long hangs in the kernel; nobody can end it."""


def die_with(parent: int, number: signal.Signals) -> bool:
    """Have this process sent a signal when its parent ends; False if the parent is gone already.

    It follows the thread that forked, so parents fork from their main thread.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def offer_to_the_oom_killer() -> None:
    """If the machine runs out of memory, let this process go before the worker."""
    with suppress(OSError):
        (_PROC / "self" / "oom_score_adj").write_text("800", encoding="ascii")


def give_way(by: int) -> bool:
    """Have this process, and those it starts, leave the processor to others by so much (nice) more than now.

    False: the kernel wants to be asked again, by `group_gives_way`.
    """
    if by:
        with suppress(OSError):
            os.nice(by)
    return group_gives_way(by)


def group_gives_way(by: int) -> bool:
    """Have the session of this process do so, where the kernel shares the processor out by sessions (sched_autogroup).

    There nice tells apart only processes of one session, and a handler's is its own. False: without privileges that may
    be asked for ten times a second by all together, and others came first.
    """
    if by:
        try:
            (_PROC / "self" / "autogroup").write_text(str(by), encoding="ascii")
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def oom_kills() -> int | None:
    """Return how many processes of this container the kernel has ended for want of memory; None: it does not say."""
    try:
        events = Path("/sys/fs/cgroup/memory.events").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in events.splitlines() if line.startswith("oom_kill "))
    except (OSError, ValueError, StopIteration):
        return None


def data_bytes(pid: int | None = None) -> int:
    """Return how much of what RLIMIT_DATA bounds a process (this one) has now; 0 if it is gone, or nobody says."""
    with suppress(OSError, ValueError, IndexError):
        pages = int((_PROC / str(pid or "self") / "statm").read_text(encoding="ascii").split()[5])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def children() -> list[int]:
    """Return the processes whose parent this one is now, zombies included."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for thread in (_PROC / "self" / "task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
    return found


def end_descendants(spare: Container[int] = ()) -> None:
    """Kill every process below this one, reap it, and return when there is none, or after END_WITHIN_S.

    Needs `adopt_orphans`: what a killed process leaves becomes ours and is killed in the next round. Children in
    `spare` are left alone with all they started.
    """
    until = time.monotonic() + END_WITHIN_S
    while time.monotonic() < until:
        left = [pid for pid in children() if pid not in spare]
        if not left:
            return
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)
