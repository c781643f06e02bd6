"""What worker, fork server, warden and child say to each other: fixed structs and JSON, bounded; nothing is pickled.

Between worker and fork server go REQUESTs and NOTICEs, between worker and child frames. A child's connection can be
written to by whatever runs in it, so the worker takes only frames that carry the mark, a known kind, a length within
the bound of that kind and the right checksum; the first that does not ends that attempt.
"""

import asyncio
import struct
import zlib
from enum import IntEnum
from typing import Any, Final, NamedTuple

import orjson

from milepost_worker.execution.job import RESULT_BYTES

REQUEST: Final = struct.Struct("!BQI")
"""Worker to fork server: (Request, number of the run, its place on the lease board). START carries two descriptors
beside it: the child's connection and where its output goes."""
NOTICE: Final = struct.Struct("!BQqqqBq")
"""Fork server to worker: (Notice, number of the run, and an Ending).
From a warden to the fork server the same; shorter than PIPE_BUF, so that many may write to one pipe."""
HEAD: Final = struct.Struct("!2sBII")
"""Of a frame: (mark, Kind, length and CRC-32 of what follows)."""
MARK: Final = b"mp"


class Request(IntEnum):
    """What the worker wants of a run."""

    START = 1
    TERMINATE = 2
    KILL = 3


class Notice(IntEnum):
    """What the fork server says: it is ready to fork, or a run is over."""

    READY = 1
    EXITED = 2


class Why(IntEnum):
    """Who ended a run."""

    ITSELF = 0
    """Nobody we know of: it returned, crashed, or was killed by somebody else."""
    ASKED = 1
    LEASE = 2
    NO_PROCESS = 3
    """There is none: the machine would not start another."""
    LOST = 4
    """Unknown, because whoever watched it is gone; it was ended with them."""


class Ending(NamedTuple):
    """How a run's process ended: exit status (negative: the signal), peak of resident memory, processor time."""

    status: int
    peak_kib: int
    cpu_ms: int
    why: Why
    data_kib: int = 0
    """What it had, of what its memory limit bounds, when a signal ended it; 0 if nobody saw."""


LOST: Final = Ending(0, 0, 0, Why.LOST)
NO_PROCESS: Final = Ending(1, 0, 0, Why.NO_PROCESS)


class Kind(IntEnum):
    """What a frame holds, as JSON."""

    JOB = 1
    CANCEL = 2
    PROGRESS = 3
    RESULT = 4
    FAILED = 5
    LOG = 6
    """A line of the handler: level, message, fields, whether it is a library's."""
    LEFT_OUT = 7
    """How many lines more the child left out."""
    OUTPUT = 8
    """A piece of output: channel, chunk, how many characters before it are missing."""
    SPANS = 9
    """Spans the handler made: an ExportTraceServiceRequest, and no JSON."""


BOUNDS: Final = {
    Kind.PROGRESS: 64 * 1024,
    Kind.RESULT: RESULT_BYTES,
    Kind.FAILED: 256 * 1024,
    Kind.LOG: 64 * 1024,
    Kind.LEFT_OUT: 32,
    Kind.OUTPUT: 16 * 1024,
    Kind.SPANS: 256 * 1024,
}
"""Most bytes a child may send as one frame of a kind; what is not here it may not send."""


class GarbledError(Exception):
    """What came is no frame. The message is for people."""


def frame(kind: Kind, body: bytes) -> bytes:
    """Return a frame."""
    return HEAD.pack(MARK, kind, len(body), zlib.crc32(body)) + body


def json_frame(kind: Kind, value: Any) -> bytes:
    """Return a frame of a JSON value."""
    return frame(kind, orjson.dumps(value))


def read_head(data: bytes) -> tuple[Kind, int, int]:
    """Return kind, length and checksum of a frame a child sent. Raises GarbledError."""
    mark, number, length, checksum = HEAD.unpack(data)
    if mark != MARK or number not in BOUNDS:
        raise GarbledError(f"it begins with {data[:8]!r}")
    kind = Kind(number)
    if length > BOUNDS[kind]:
        raise GarbledError(f"a frame of {length:,} bytes, more than the {BOUNDS[kind]:,} there may be")
    return kind, length, checksum


async def read_frame(reader: asyncio.StreamReader) -> tuple[Kind, bytes]:
    """Return the next frame of a child. Raises GarbledError, IncompleteReadError at the end."""
    kind, length, checksum = read_head(await reader.readexactly(HEAD.size))
    body = await reader.readexactly(length)
    if zlib.crc32(body) != checksum:
        raise GarbledError("the checksum of a frame is wrong")
    return kind, body
