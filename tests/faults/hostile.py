"""Clients that want to do harm: each goes at a notifier in its own way, again and again, until it is cancelled.

    python -m tests.faults.hostile < TARGET

As a program it reads the members of a `Target` as a line of JSON, goes on until its input ends, and says how often each
went at it.
"""

import asyncio
import json
import os
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7
from websockets.frames import Opcode

REST_S = 0.05
"""Between two attempts of one client."""
CHUNK_FRAMES = 500


@dataclass
class Target:
    """What is attacked, and with what in hand."""

    port: int
    http_port: int
    key: str
    stolen: str
    """A good token, for `mine` alone."""
    mine: UUID
    feed: str
    """A good token for the feed."""
    expired: str
    forged: str
    others: Sequence[UUID]
    """Tasks that the stolen token does not cover."""
    attempts: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[Any]] = field(default_factory=dict)
    """How each kind of client was answered: close codes, statuses of HTTP, codes of err, `cut` for nothing at all."""

    def answered(self, name: str, answer: Any) -> None:
        """Note an answer."""
        self.answers.setdefault(name, Counter())[answer] += 1


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """Return a frame of a client, masked with zeros."""
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(data)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return head + length + b"\0\0\0\0" + data


def text(members: Any) -> bytes:
    """Return a frame with JSON."""
    return frame(Opcode.TEXT, json.dumps(members).encode())


ADDRESS: ContextVar[str] = ContextVar("ADDRESS")
"""From where a client comes, as a proxy would say."""


class Refused(ConnectionError):
    """No upgrade; the status says why."""


def upgrade(query: str = "", *headers: str) -> bytes:
    """Return the request for a WebSocket."""
    headers = (*headers, f"X-Forwarded-For: {ADDRESS.get()}")
    lines = [
        f"GET /v1/stream{query} HTTP/1.1", "Host: notifier", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: milepost.v1", *headers,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Line:
    """A bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write, as fast as it is taken."""
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """Return the status of the answer to a request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1])

    async def answer(self) -> tuple[Opcode, bytes]:
        """Return the next frame of the server."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return Opcode(first & 0x0F), await self.reader.readexactly(size)

    async def closed(self, codes: Callable[[Any], None]) -> None:
        """Read to the end; tell of every err, and of the close."""
        while True:
            opcode, data = await self.answer()
            if opcode is Opcode.CLOSE:
                codes(struct.unpack("!H", data[:2])[0])
                return
            if opcode is Opcode.TEXT:
                said = json.loads(data)
                if said["t"] == "err":
                    codes(said["code"])


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def stream(target: Target, token: str | None = None, query: str = "") -> AsyncIterator[Line]:
    """Open a WebSocket, and say hello if there is a token."""
    async with line_to(target.port) as line:
        await line.send(upgrade(query))
        if (status := await line.status()) != 101:
            raise Refused(status)
        if token is not None:
            await line.send(text({"t": "hello", "token": token}))
        yield line


Attack = Callable[[Target, Callable[[Any], None]], Awaitable[None]]


async def _until_closed(
    line: Line, codes: Callable[[Any], None], data: Callable[[], bytes], pause_s: float = 0.005
) -> None:
    """Send without end and read what comes, until the server has had enough."""
    reading = asyncio.create_task(line.closed(codes))
    try:
        while not reading.done():
            await line.send(data())
            await asyncio.sleep(pause_s)  # one loop has all the clients, honest ones too
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def flood_of_frames(target: Target, codes: Callable[[Any], None]) -> None:
    chunk = text({"t": "ping"}) * CHUNK_FRAMES
    async with stream(target, target.feed) as line:
        await _until_closed(line, codes, lambda: chunk)


async def flood_of_pings_without_reading(target: Target, codes: Callable[[Any], None]) -> None:
    chunk = frame(Opcode.PING, b"p" * 125) * CHUNK_FRAMES
    async with stream(target, target.feed) as line:
        for _ in range(20):
            await line.send(chunk)
            await asyncio.sleep(0.01)
        await line.closed(codes)


async def endless_fragments(target: Target, codes: Callable[[Any], None]) -> None:
    chunk = frame(Opcode.CONT, b"", fin=False) * CHUNK_FRAMES
    async with stream(target, target.feed) as line:
        await line.send(frame(Opcode.TEXT, b"", fin=False))
        await _until_closed(line, codes, lambda: chunk)


async def giant_frames(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.feed) as line:
        await line.send(b"\x81\xff" + (2**40).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 100_000)
        await line.closed(codes)


async def half_open_upgrades(target: Target, codes: Callable[[Any], None]) -> None:
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for _ in range(60):
            opened.append(await asyncio.open_connection("127.0.0.1", target.port))  # noqa: PERF401 - all are closed
        opened[0][1].write(b"GET /v1/stream HTTP/1.1\r\nHost: no")
        await opened[0][0].read()
        codes("cut")
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def slow_upgrade(target: Target, codes: Callable[[Any], None]) -> None:
    async with line_to(target.port) as line:
        for byte in upgrade():
            await line.send(bytes([byte]))
            await asyncio.sleep(0.2)
        codes(await line.status())


async def slow_hello(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target) as line:
        hello = json.dumps({"t": "hello", "token": target.feed}).encode()
        await line.send(frame(Opcode.TEXT, hello[:1], fin=False))
        rest = iter(hello[1:])
        await _until_closed(line, codes, lambda: frame(Opcode.CONT, bytes([next(rest)]), fin=False), 0.2)


async def no_hello(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target) as line:
        await line.closed(codes)


async def slow_reads(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.feed) as line:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(300):
            await line.send(text({"t": "sub", "id": number, "feed": "tasks"}))
        codes("left alone")
        await asyncio.sleep(3600)


async def endless_subscriptions(target: Target, codes: Callable[[Any], None]) -> None:
    numbers = iter(range(2**31))
    tasks = [str(uuid7()) for _ in range(20)]
    async with stream(target, target.key) as line:
        await _until_closed(
            line, codes, lambda: b"".join(text({"t": "sub", "id": next(numbers), "task": task}) for task in tasks)
        )


async def subscribing_and_leaving(target: Target, codes: Callable[[Any], None]) -> None:
    both = text({"t": "sub", "id": 1, "task": str(target.mine)}) + text({"t": "unsub", "id": 1})
    async with stream(target, target.stolen) as line:
        await _until_closed(line, codes, lambda: both * 20)


async def stolen_token(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.stolen) as line:
        for number, task in enumerate(target.others):
            await line.send(text({"t": "sub", "id": number, "task": str(task), "from": [0, 0]}))
        await line.send(text({"t": "sub", "id": 900, "feed": "tasks"}))
        await line.send(text({"t": "done"}))
        await line.closed(codes)


async def expired_token(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.expired) as line:
        await line.closed(codes)


async def forged_token(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.forged) as line:
        await line.closed(codes)


async def hello_again_and_again(target: Target, codes: Callable[[Any], None]) -> None:
    chunk = text({"t": "hello", "token": target.stolen}) * 20
    async with stream(target, target.stolen) as line:
        await _until_closed(line, codes, lambda: chunk)


async def text_that_is_not_utf8(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.stolen) as line:
        await line.send(frame(Opcode.TEXT, b'{"t":"\xff\xfe\xc0\x80"}'))
        await line.closed(codes)


async def binary(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.stolen) as line:
        await line.send(frame(Opcode.BINARY, os.urandom(1000)))
        await line.closed(codes)


async def deep_json(target: Target, codes: Callable[[Any], None]) -> None:
    async with stream(target, target.stolen) as line:
        await line.send(frame(Opcode.TEXT, b'{"t":"sub","id":1,"filter":' + b"[" * 16_000))
        await line.closed(codes)


async def noise(target: Target, codes: Callable[[Any], None]) -> None:
    async with line_to(target.port) as line:
        await line.send(b"\x16\x03\x01" + os.urandom(5000))
        line.writer.write_eof()
        await line.reader.read()
        codes("cut")


async def guessed_tickets_and_tokens_in_the_url(target: Target, codes: Callable[[Any], None]) -> None:
    for query in ("?ticket=" + os.urandom(16).hex(), "?token=" + target.feed, "?ticket=" + target.feed[:60]):
        async with line_to(target.port) as line:
            await line.send(upgrade(query))
            codes(await line.status())


async def page_of_another_origin(target: Target, codes: Callable[[Any], None]) -> None:
    for origin in ("null", "https://evil.example", f"http://127.0.0.1:{target.port}.evil.example"):
        async with line_to(target.port) as line:
            await line.send(upgrade("", f"Origin: {origin}"))
            codes(await line.status())


async def events_that_nobody_reads(target: Target, codes: Callable[[Any], None]) -> None:
    async with line_to(target.http_port) as line:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        request = f"GET /v1/events HTTP/1.1\r\nHost: n\r\nAuthorization: Bearer {target.feed}\r\n\r\n"
        await line.send(request.encode())
        codes("left alone")
        await asyncio.sleep(3600)


ATTACKS: dict[Attack, set[Any]] = {
    flood_of_frames: {4503},
    flood_of_pings_without_reading: {4503},
    endless_fragments: {4503, 1009},
    giant_frames: {1009},
    half_open_upgrades: {"cut"},
    slow_upgrade: {"cut"},
    slow_hello: {4504, "cut"},
    no_hello: {4504, "cut"},
    slow_reads: {"left alone", "cut"},
    endless_subscriptions: {4503, "too_many_subs", "not_found"},
    subscribing_and_leaving: {4503},
    stolen_token: {"forbidden", 4501},
    expired_token: {4003},
    forged_token: {4500},
    hello_again_and_again: {4503},
    text_that_is_not_utf8: {1007, 4501},
    binary: {4501},
    deep_json: {4501},
    noise: {"cut"},
    guessed_tickets_and_tokens_in_the_url: {400, 401},
    page_of_another_origin: {403},
    events_that_nobody_reads: {"left alone", "cut"},
}
"""Each kind of client, and how it may be answered. Any of those that wait may be cut off to make room."""


async def attack(target: Target, how: Attack, address: str) -> None:
    """Go at the target in one way until cancelled."""
    name = how.__name__
    ADDRESS.set(address)
    while True:
        target.attempts[name] += 1
        try:
            await how(target, lambda answer: target.answered(name, answer))
        except Refused as refused:
            target.answered(name, refused.args[0])
        except (OSError, EOFError):
            target.answered(name, "cut")
        await asyncio.sleep(REST_S)


@asynccontextmanager
async def attacked(target: Target, times: int = 1) -> AsyncIterator[None]:
    """Have all of them at it inside the block, each kind so many times."""
    clients = enumerate(how for how in ATTACKS for _ in range(times))
    running = [asyncio.create_task(attack(target, how, f"198.51.100.{number}")) for number, how in clients]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def main() -> None:
    """Do what the module says."""
    loop = asyncio.get_running_loop()
    given = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    target = Target(**{**given, "mine": UUID(given["mine"]), "others": [UUID(each) for each in given["others"]]})
    async with attacked(target):
        await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps(target.attempts))  # noqa: T201 - a program says it so


if __name__ == "__main__":
    asyncio.run(main())
