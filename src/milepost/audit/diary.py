"""The diary: a file to which handlers append while they run, so that it can be seen who ran when.

Nothing else shows that. Rows and events tell who owned a task; whether a handler that had lost its task went on only
that handler knows. All processes of one machine share the clock (`time.monotonic`), so their marks can be compared;
those of several machines cannot.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import orjson

from milepost.audit.facts import Mark
from milepost.tasks.context import Context


@contextmanager
def diary_of(ctx: Context, path: Path, every_s: float) -> Iterator[Callable[[], None]]:
    """Note begin and end of an execution; call what this yields at least every `every_s` seconds in between.

    It may be called more often: what is too early to matter is not written.
    """
    noted = 0.0

    def note(what: str) -> None:
        nonlocal noted
        now = time.monotonic()
        if what == "alive" and now - noted < every_s / 2:
            return
        noted = now
        line = orjson.dumps([str(ctx.id), ctx.epoch, now, what, os.getpid(), every_s]) + b"\n"
        # One write to a file that is open for appending: lines of different processes do not mix.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)

    note("begin")
    try:
        yield lambda: note("alive")
    finally:
        note("end")


def read_diary(path: Path) -> dict[UUID, list[Mark]]:
    """Return all marks by task, in the order they were written; none if nobody wrote."""
    found: dict[UUID, list[Mark]] = {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            task, *rest = orjson.loads(line)
            found.setdefault(UUID(task), []).append(Mark(*rest))
    return found
