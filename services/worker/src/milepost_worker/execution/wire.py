"""What worker, fork server and child say to each other. Frames of JSON; nothing is pickled."""

import struct
from enum import IntEnum
from typing import Any, Final

import orjson

REQUEST: Final = struct.Struct("!BQ")
"""Worker to fork server: (Request, number of the run). START carries the child's socket beside it."""
NOTICE: Final = struct.Struct("!BQqq")
"""Fork server to worker: (Notice, number of the run, pid or exit status, peak memory in KiB)."""
LENGTH: Final = struct.Struct("!I")


class Request(IntEnum):
    """What the worker wants of a run."""

    START = 1
    TERMINATE = 2
    KILL = 3


class Notice(IntEnum):
    """What the fork server says of a run."""

    STARTED = 1
    EXITED = 2


def frame(message: dict[str, Any]) -> bytes:
    """Return a message between worker and child: its length, then JSON."""
    body = orjson.dumps(message)
    return LENGTH.pack(len(body)) + body
