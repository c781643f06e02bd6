"""A transport that writes together what belongs together, and waits for no reader without end."""

import asyncio
from asyncio.events import TimerHandle
from typing import Any, Final

STUCK_S: Final = 30.0
"""A client that takes nothing of an answer for so long is given up."""


class Together:
    """A transport that sends what is written in one turn of the loop by one call to the kernel.

    uvicorn writes head and body of a response separately: two system calls, two packets, and a client woken twice.
    And it waits for ever for a client that reads nothing; here that is looked after while there is something left.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._look_again: TimerHandle | None = None
        self._could_take = 0

    def write(self, data: bytes) -> None:
        """Send it with whatever follows at once."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._transport.close()

    def end(self) -> None:
        """Close, without waiting for a client that does not even take its answer."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self.close()

    def forget(self) -> None:
        """Look after nobody any more: the connection is gone."""
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

    def _send(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            if not self._transport.is_closing():
                data = b"".join(parts)
                self._transport.write(data)
                self._could_take += len(data)
                if self._look_again is None and self._transport.get_write_buffer_size():
                    self._look()

    def _look(self) -> None:
        left = self._transport.get_write_buffer_size()
        if self._look_again is not None and left and left >= self._could_take:
            self._look_again = None
            self._transport.abort()
            return
        self._could_take = left
        self._look_again = self._loop.call_later(STUCK_S, self._look) if left else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
