"""A DNS server on this machine that says what a test wants."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

_A, _AAAA = 1, 28


class Names(asyncio.DatagramProtocol):
    """Answers from a table: name → answers, each a list of addresses; one after the other, the last one for ever.

    A name that is not in the table does not exist; one with no answers at all is never answered.
    """

    def __init__(self) -> None:
        self.table: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._given: dict[tuple[str, int], int] = {}
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def server(self) -> str:
        """Where it listens, as a resolver wants it."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        name, kind, question = _question(data)
        self.asked.append(name)
        answers = self.table.get(name)
        if answers == []:
            return
        found: list[bytes] = []
        if answers is not None:
            turn = self._given.get((name, kind), 0)
            self._given[name, kind] = turn + 1
            addresses = [ip_address(each) for each in answers[min(turn, len(answers) - 1)]]
            found = [each.packed for each in addresses if (each.version == 4) == (kind == _A)]
        flags = 0x8180 if answers is not None else 0x8183
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        # 0xC00C points to the name in the question; nothing is to be kept (0 s).
        records = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(each)) + each for each in found)
        assert self._transport is not None
        self._transport.sendto(head + question + records, addr)  # type: ignore[arg-type]


def _question(data: bytes) -> tuple[str, int, bytes]:
    """Return the name asked for, the kind of record, and the bytes of the question."""
    labels, at = [], 12
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode())
        at += 1 + size
    (kind,) = struct.unpack_from("!H", data, at + 1)
    return ".".join(labels).lower(), kind, data[12 : at + 5]


@asynccontextmanager
async def answering() -> AsyncIterator[Names]:
    """Run one."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0), family=socket.AF_INET)
    try:
        yield names
    finally:
        transport.close()
