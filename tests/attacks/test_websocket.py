"""A WebSocket takes nothing that is packed, whatever was offered."""

import asyncio
import zlib

import pytest
from websockets.frames import Opcode

from milepost.live import connect
from milepost.runtime.settings import Settings
from milepost.store import Store, open_pool
from milepost_notifier.edge import Edge
from tests.attacks.conftest import line_to

pytestmark = pytest.mark.stack
UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: milepost.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


async def test_a_packed_message_closes_the_connection(own_settings: Settings) -> None:
    redis = connect(own_settings)
    pool = await open_pool(own_settings, "test")
    packed = zlib.compress(b"x" * 60_000, wbits=-15)
    try:
        async with Edge(own_settings, redis, Store(pool)).listening() as port, line_to(port) as line:
            await line.send(UPGRADE)
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"permessage-deflate" not in head
            compressed = 0x40  # RSV1, RFC 7692
            length = bytes([0x80 | len(packed)]) if len(packed) < 126 else b"\xfe" + len(packed).to_bytes(2, "big")
            await line.send(bytes([0x80 | compressed | Opcode.TEXT]) + length + b"\0\0\0\0" + packed)
            async with asyncio.timeout(20):
                said = await line.all()
        assert said[:1] == bytes([0x80 | Opcode.CLOSE])
        assert int.from_bytes(said[2:4], "big") == 1002
    finally:
        pool.terminate()
        await redis.aclose()
