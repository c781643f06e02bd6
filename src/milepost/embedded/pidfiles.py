"""Pid files: which processes of a home run, and which files only remember one that is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil

# psutil's start times come from the kernel's tick counter, the file's from the wall clock.
CLOCK_SLACK = 2.0


def live_pid(path: Path) -> int | None:
    """Return the pid in the file if that very process still runs, else None.

    A pid is reused sooner or later. The file is written after its process started, so a process that
    started after the file was written is another one.
    """
    try:
        pid = int(path.read_text(encoding="ascii"))
        written = path.stat().st_mtime
        process = psutil.Process(pid)
        if process.create_time() > written + CLOCK_SLACK or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (OSError, ValueError, psutil.Error):
        return None
    return pid


def sweep(run: Path, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Remove stale pid files of the names wanted; return the live ones, name to pid."""
    live: dict[str, int] = {}
    for path in sorted(run.glob("*.pid")):
        if not wanted(path.stem):
            continue
        pid = live_pid(path)
        if pid is None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        else:
            live[path.stem] = pid
    return live
