"""CPU seconds of processes and what they started."""

from pathlib import Path

import psutil


def used(run: Path) -> dict[str, float]:
    """Return CPU seconds so far of each process with a pid file in `run`, its children counted in."""
    return {path.stem: _tree(int(path.read_text().split()[0])) for path in sorted(run.glob("*.pid"))}


def own() -> float:
    """Return CPU seconds of this process."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _tree(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for member in members:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # Children that ended (a backend of Postgres, a forked handler) count in their parent.
        total += times.user + times.system + times.children_user + times.children_system
    return total
