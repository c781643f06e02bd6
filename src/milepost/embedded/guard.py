"""Runs one command and ends it when the process that asked for it goes away, however that happens.

Started as a plain file (`python -I -S guard.py …`), so it imports nothing but the standard library and
is up in some 30 ms. Standard input is one end of a socket pair; the other end belongs to the parent:

- guard → parent, one line each: `pid N` once the command runs, `exit CODE` when it has ended,
  `error TEXT` if it could not be started.
- parent → guard: nothing but end of file, which means "stop it". The kernel sends that even when the
  parent was killed with SIGKILL; a death signal (PR_SET_PDEATHSIG) would exist on Linux only, follow the
  thread instead of the process, and be cleared when the server changes its user.

The guard owns the pid file: written with the command's own pid before the parent hears of it, and
removed when the command has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STATUS_FD = 0
EXEC_FAILED = 127


def report(line: str) -> None:
    """Tell the parent, if there still is one."""
    with contextlib.suppress(OSError):
        os.write(STATUS_FD, line.replace("\n", " ").encode() + b"\n")


def write_pid(path: Path, pid: int) -> None:
    """Put the pid into its file in one step, so that no reader sees half of it."""
    scratch = path.with_name(f".{path.name}.{pid}")
    scratch.write_text(f"{pid}\n", encoding="ascii")
    scratch.replace(path)


def remove_pid(path: Path, pid: int) -> None:
    """Remove the pid file, unless it has come to name another process."""
    with contextlib.suppress(OSError):
        if path.read_text(encoding="ascii").strip() == str(pid):
            path.unlink()


def wake(pid: int) -> None:
    """Let a process that was paused, and its children, notice the signal that was sent."""
    pids = [pid]
    with contextlib.suppress(OSError, ValueError):
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())
    for each in pids:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGCONT)


def supervise(child: subprocess.Popen[bytes], stop_signal: int, grace: float, wakeups: int) -> int:
    """Wait until the child has ended, ending it as soon as the parent is gone or asks for it.

    `grace` is in seconds: what has not ended by then is killed, with its process group.
    """
    watched = [STATUS_FD, wakeups]
    deadline: float | None = None
    while child.poll() is None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select(watched, [], [], timeout)
        signals = os.read(wakeups, 64) if wakeups in readable else b""
        told = any(number != signal.SIGCHLD for number in signals)
        gone = STATUS_FD in readable and not _still_there()
        if (told or gone) and deadline is None:
            watched = [wakeups]
            deadline = time.monotonic() + grace
            child.send_signal(stop_signal)
            wake(child.pid)
        elif deadline is not None and time.monotonic() >= deadline:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if deadline is not None:
        # What it left behind in its group goes with it; a child that died by itself is not tidied up
        # after, so that such a fault stays visible.
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    return child.returncode


def _still_there() -> bool:
    try:
        return bool(os.read(STATUS_FD, 64))
    except OSError:
        return False


def main(arguments: Sequence[str]) -> int:
    """Run the command after `--`; return 0 once it has ended, 127 if it could not be started."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--stop-signal", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)

    wakeups, poke = os.pipe()
    os.set_blocking(wakeups, False)
    os.set_blocking(poke, False)
    signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    try:
        child = subprocess.Popen(
            options.command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=options.user,
            group=options.group,
            extra_groups=None if options.user is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        report(f"error {error}")
        return EXEC_FAILED
    try:
        write_pid(options.pid_file, child.pid)
    except OSError as error:
        child.kill()
        child.wait()
        report(f"error {error}")
        return EXEC_FAILED
    report(f"pid {child.pid}")
    code = supervise(child, options.stop_signal, options.grace, wakeups)
    remove_pid(options.pid_file, child.pid)
    report(f"exit {code}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
