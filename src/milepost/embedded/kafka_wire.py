"""Just enough of Kafka's protocol to ask a broker whether it is ready (three requests, no client library).

See https://kafka.apache.org/protocol; the versions used here are the oldest Kafka 4 speaks with plain
(not "flexible") encoding.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

API_VERSIONS = (18, 0)
METADATA = (3, 1)
FIND_COORDINATOR = (10, 1)
CORRELATION = 7
CLIENT = b"milepost-ready"
PROBE_GROUP = b"milepost-ready"


@dataclass
class Reader:
    """Reads the fields of a response in order."""

    data: bytes
    at: int = 0

    def number(self, kind: str) -> int:
        """Read one big-endian integer; `kind` is its letter in `struct`."""
        (value,) = struct.unpack_from(f">{kind}", self.data, self.at)
        self.at += struct.calcsize(f">{kind}")
        return int(value)

    def skip_string(self) -> None:
        """Pass over a string, or a null in its place."""
        length = self.number("h")
        self.at += max(0, length)


async def not_ready(host: str, port: int, node: int) -> str | None:
    """Ask a broker for its versions, the live brokers and a group's coordinator.

    Returns None if it serves all three and counts node `node` among the live, else what is missing.
    Raises OSError or asyncio.IncompleteReadError while it cannot be talked to.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        versions = await _call(reader, writer, API_VERSIONS, b"")
        if versions.number("h") != 0:
            return "it refuses ApiVersions"
        if node not in _brokers(await _call(reader, writer, METADATA, struct.pack(">i", 0))):
            return "it has not joined its cluster"
        # Asking for a coordinator creates the offsets topic, which a first join would else wait for.
        question = struct.pack(">h", len(PROBE_GROUP)) + PROBE_GROUP + struct.pack(">b", 0)
        answer = await _call(reader, writer, FIND_COORDINATOR, question)
        answer.number("i")
        error = answer.number("h")
        return f"it has no group coordinator (error {error})" if error else None
    except (struct.error, IndexError) as error:
        return f"it answers what is not Kafka's protocol ({error})"
    finally:
        writer.close()


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, api: tuple[int, int], body: bytes
) -> Reader:
    header = struct.pack(">hhih", *api, CORRELATION, len(CLIENT)) + CLIENT
    writer.write(struct.pack(">i", len(header) + len(body)) + header + body)
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    answer = Reader(await reader.readexactly(size))
    answer.number("i")
    return answer


def _brokers(metadata: Reader) -> set[int]:
    nodes = set()
    for _ in range(metadata.number("i")):
        nodes.add(metadata.number("i"))
        metadata.skip_string()
        metadata.number("i")
        metadata.skip_string()
    return nodes
