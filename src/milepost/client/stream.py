"""Many watches over few WebSockets to the notifier."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import aiohttp

from milepost.client.connection import Connection
from milepost.client.credential import Credential
from milepost.client.feed import FeedSubscription
from milepost.client.subscription import Subscription
from milepost.client.waiting import Waiting
from milepost.errors import ClientError
from milepost_schemas.feed import FeedFilter

DOWN_AFTER_S: Final = 2.0
"""Without a connection for so long, watchers are told to ask the API instead."""


class Stream:
    """All watches of one client at one notifier address.

    Watches share a connection up to the number of subscriptions the server allows on one; beyond that another is
    opened. Connections are made when first needed, come back by themselves, and resume where each watch was.
    """

    def __init__(self, sockets: Callable[[], aiohttp.ClientSession], url: str, credential: Credential) -> None:
        self.url = url
        self._sockets = sockets
        self._credential = credential
        self._connections: list[Connection] = []
        """Those that may still be of use: one that failed for good is taken out."""
        self._runners: set[asyncio.Task[None]] = set()
        self._made = 0
        self._closed = False

    @property
    def connections(self) -> int:
        """WebSockets that are open and greeted."""
        return sum(connection.up for connection in self._connections)

    def subscribe(self, task: UUID, tail: int = 0, *, tree: bool = False) -> Subscription:
        """Start to watch a task, with so many of its last streamed events; end it with `unsubscribe`.

        `tree`: its descendants too.
        """
        if self._closed:
            raise ClientError("The client is closed. Watch inside `async with Client() as client:`.")
        subscription = Subscription(task, tail, tree=tree)
        self._place(subscription)
        return subscription

    def listen(self, only: FeedFilter | None) -> FeedSubscription:
        """Start to listen to the feed, or to a part of it; end it with `unsubscribe`."""
        if self._closed:
            raise ClientError("The client is closed. Listen inside `async with Client() as client:`.")
        subscription = FeedSubscription(only)
        self._place(subscription)
        return subscription

    def unsubscribe(self, subscription: Waiting[Any]) -> None:
        """Stop watching."""
        subscription.closed = True
        for connection in self._connections:
            connection.remove(subscription)

    async def close(self) -> None:
        """Close all connections; watches that still wait end with ClientError."""
        self._closed = True
        connections, runners = list(self._connections), list(self._runners)
        for runner in runners:
            runner.cancel()
        for runner in runners:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await runner
        for connection in connections:
            connection.fail(ClientError("The client was closed while this watch was open."))

    def _place(self, subscription: Waiting[Any]) -> None:
        for connection in self._connections:
            if connection.room > 0:
                connection.add(subscription)
                return
        limit = self._connections[-1].limit if self._connections else None
        connection = Connection(self._sockets, self.url, self._credential, DOWN_AFTER_S, self._place, limit)
        self._connections.append(connection)
        connection.add(subscription)
        self._made += 1
        runner = asyncio.create_task(self._run(connection), name=f"milepost stream {self._made}")
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.remove(connection)
