"""What came for one reader and was not taken yet."""

import asyncio
from collections import deque
from enum import Enum
from typing import Any, Generic, TypeVar

from milepost.client.fold import Loss

T = TypeVar("T")


class Link(Enum):
    """News of the connection itself."""

    DOWN = "down"
    UP = "up"


class Protocol(Exception):
    """The server sent something that the protocol does not have."""


class Waiting(Generic[T]):
    """Takes frames of one subscription, gives what they say to one reader. Never blocks the connection."""

    def __init__(self) -> None:
        self.number = -1
        """Its id on the present connection; each time it subscribes it takes another."""
        self.asked_at: float | None = None
        """When it subscribed, until the server says something of it."""
        self.closed = False
        self._down = False
        self._failure: Exception | None = None
        self._waiting: deque[T | Link] = deque()
        self._news = asyncio.Event()

    # -- the connection's side

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return False

    def asks(self, *, afresh: bool) -> dict[str, Any]:
        """Return what to subscribe with; `afresh`: for the whole, whatever is known."""
        raise NotImplementedError

    def frame(self, frame: dict[str, Any]) -> Loss | None:
        """Take a frame; LOST if it has to subscribe again. Raises Protocol."""
        raise NotImplementedError

    def _append(self, item: T) -> None:
        self._waiting.append(item)
        self._news.set()

    def link(self, link: Link) -> None:
        """Tell the reader that the stream is away, or back."""
        if (link is Link.DOWN) != self._down:
            self._down = link is Link.DOWN
            self._waiting.append(link)
            self._news.set()

    def fail(self, error: Exception) -> None:
        """Let the reader end with an error once it has taken what is waiting."""
        self._failure = error
        self._news.set()

    # -- the reader's side

    @property
    def pending(self) -> bool:
        """Whether `next` would return at once."""
        return bool(self._waiting) or self._failure is not None

    async def next(self) -> T | Link:
        """Wait for what comes next, or news of the connection. Raises what the subscription failed with."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    async def wait(self, seconds: float) -> None:
        """Wait until something is pending, or so long."""
        if self.pending:
            return
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
