"""A client that reads server-sent events as a browser does, and folds their frames."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from milepost.runtime.health import serving
from milepost.runtime.settings import Settings
from milepost_notifier.edge import Edge
from milepost_notifier.streams import Streams
from milepost_schemas.frames import SERVER_FRAME
from tests.integration.notifier.acting import KEY, PATIENCE_S, Postgres
from tests.integration.notifier.conftest import edge_of
from tests.server_sent import Block, blocks_in
from tests.unit.notifier.making import Client, TreeClient

AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


class Reader:
    """Reads one response, and does with it what a page does."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.client = Client()
        self.tree: TreeClient | None = None
        """Folds instead of `client` when it is there."""
        self.events: list[Block] = []
        self.last_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._blocks = blocks_in(response.content, PATIENCE_S)

    async def next(self) -> Block | None:
        """Return the next event, folded in; None after the last."""
        async for block in self._blocks:
            self.comments += block.comment
            self.retry = self.retry if block.retry is None else block.retry
            self.last_id = block.id or self.last_id
            if block.kind:
                if block.kind != "close":
                    SERVER_FRAME.validate_json(block.data)
                (self.tree or self.client).take(block.frame)
                self.events.append(block)
                return block
        return None

    async def until(self, condition: Callable[[Block], bool]) -> Block:
        """Return the first event that fulfils the condition."""
        while True:
            event = await self.next()
            assert event is not None, f"the stream ended after {[one.kind for one in self.events]}"
            if condition(event):
                return event

    async def at(self, *position: int) -> Block:
        """Return the event that brings position."""
        return await self.until(lambda event: event.frame.get("at") == list(position))

    async def rest(self) -> list[str]:
        """Return the kinds of all events to the end of the response."""
        kinds = []
        while (event := await self.next()) is not None:
            kinds.append(event.kind)
        return kinds


class Http:
    """The notifier's HTTP port."""

    def __init__(self, edge: Edge, session: aiohttp.ClientSession) -> None:
        self.edge = edge
        self.session = session

    @asynccontextmanager
    async def get(self, path: str, **headers: str) -> AsyncIterator[Reader]:
        """Ask with the key; names of headers with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(path, headers={**AUTHORIZED, **named}) as response:
            yield Reader(response)

    async def status(self, path: str, method: str = "GET", **headers: str) -> int:
        """Return the status of an answer, which has to be a problem document unless it is good."""
        async with self.session.request(method, path, headers=headers) as response:
            if response.status >= 400:
                assert response.content_type == "application/problem+json"
                problem = await response.json()
                assert problem["status"] == response.status
                assert re.fullmatch("[0-9a-f]{32}", problem["trace_id"])
            return response.status


@asynccontextmanager
async def http_of(settings: Settings, redis: Redis, postgres: Postgres, **options: Any) -> AsyncIterator[Http]:
    """Serve streams over HTTP, with an edge of their own."""
    async with edge_of(settings, redis, postgres, **options) as edge:
        app = web.Application()
        app.add_subapp("/v1", Streams(edge, settings).application())
        async with (
            serving(app, "127.0.0.1", 0) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            yield Http(edge, session)
