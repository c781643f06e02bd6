"""An HTTP/1.1 client that costs little, so that the load does not measure itself."""

import asyncio
from typing import Self
from urllib.parse import urlsplit

_NOT_MODIFIED = 304
"""Has no body, whatever its Content-Length says."""


class Connection:
    """One kept-alive connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    @classmethod
    async def open(cls, url: str, key: str) -> Self:
        """Connect to the API at `url`."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        return cls(reader, writer, head.encode())

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a request and return its status and body."""
        status, _, answer = await self._ask(f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n", body)
        return status, answer

    async def get(self, path: str, etag: str | None = None) -> tuple[int, str, bytes]:
        """Ask for something, or whether it is still what `etag` stands for; return status, ETag and body."""
        condition = "" if etag is None else f"If-None-Match: {etag}\r\n"
        status, head, body = await self._ask(f"GET {path} HTTP/1.1\r\n{condition}", b"")
        return status, _header(head, b"etag").decode(), body

    async def _ask(self, start: str, body: bytes) -> tuple[int, bytes, bytes]:
        self._writer.write(start.encode() + self._head + b"\r\n" + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = 0 if status == _NOT_MODIFIED else int(_header(head, b"content-length"))
        return status, head, await self._reader.readexactly(length)

    def close(self) -> None:
        """Close it."""
        self._writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    start = head.lower().index(b"\r\n" + name + b":") + len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()
