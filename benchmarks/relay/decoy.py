"""What hostile clients are let loose on for comparison: it upgrades whoever asks and throws away what is sent.

    python -m benchmarks.relay.decoy STREAM_PORT HTTP_PORT

It costs next to nothing itself, so what honest clients of a relay feel meanwhile is what the attackers and the system
cost on the same cores. Its answers come as the relay's do, that the attackers may go on as they do there: 101, a close
after so much, an end after five seconds of a client that says little.
"""

import asyncio
import sys
from typing import Final

FLOOD_BYTES: Final = 32 * 1024
QUIET_S: Final = 5.0
_UPGRADED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\nSec-WebSocket-Protocol: milepost.v1\r\n\r\n"
)
_STREAMED: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_CLOSED: Final = b"\x88\x02" + (4503).to_bytes(2, "big")


class Decoy(asyncio.Protocol):
    """One client."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._end: asyncio.TimerHandle
        self._head: bytes | None = b""
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport
        self._end = asyncio.get_running_loop().call_later(QUIET_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer the request; throw away the rest."""
        if self._head is None:
            self._taken += len(data)
            if self._taken > FLOOD_BYTES:
                self._transport.write(_CLOSED)
                self._transport.close()
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._transport.write(_UPGRADED if b"Upgrade:" in self._head else _STREAMED)
            self._head = None

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget it."""
        self._end.cancel()


async def main(ports: list[int]) -> None:
    """Listen until killed."""
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Decoy, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
