"""Looking at processes from outside."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.conftest import eventually


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (OSError, IndexError):
        return False


def gone(pids: Iterable[int]) -> bool:
    """Whether none of them runs any more."""
    return not any(alive(pid) for pid in pids)


async def noted(path: Path) -> list[int]:
    """Wait for the process ids a handler wrote down."""
    found: list[int] = []

    async def there() -> bool:
        found.extend(_pids(path))
        return bool(found)

    await eventually(there, f"{path} to be written")
    return found


def _pids(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def fork_server_of(worker: int) -> int | None:
    """Return the process a worker forks attempts from; None while there is none."""
    with suppress(OSError, ValueError):
        for pid in map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split()):
            if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return None


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send them a signal; those that are gone already need none."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
