"""Server-sent events over HTTP: which requests get a stream, and of what."""

import asyncio
import random
from typing import Any
from uuid import UUID

import orjson
from aiohttp import hdrs, web

from milepost.errors import Unavailable
from milepost.runtime.settings import Settings
from milepost_notifier import asked, sse
from milepost_notifier.admission import Visit
from milepost_notifier.connections import BAD_TICKET
from milepost_notifier.cors import Cors
from milepost_notifier.edge import RETURN_WITHIN_MS, Edge
from milepost_notifier.refusals import answering, too_many, unauthenticated, unavailable
from milepost_notifier.session import Session
from milepost_notifier.stream import HEADERS, SUB, Stream
from milepost_schemas.position import Position

_ALWAYS = frozenset({asked.LAST_EVENT_ID_IN_QUERY, asked.TICKET})
_OF_A_TASK = _ALWAYS | {"tail", "tree"}
_OF_A_FEED = _ALWAYS | {asked.LABEL} | asked.FILTER


class Streams:
    """The routes, for an application under /v1."""

    def __init__(self, edge: Edge, settings: Settings) -> None:
        self._edge = edge
        self._cors = Cors(frozenset(settings.allowed_origins))

    def application(self) -> web.Application:
        """Return what is served under /v1."""
        app = web.Application(middlewares=[answering], client_max_size=1024)
        app.on_response_prepare.extend((self._cors.prepare, _seal))
        for path, handler in (("/tasks/{task:[0-9A-Fa-f-]{36}}/events", self._task), ("/events", self._feed)):
            app.router.add_get(path, handler, allow_head=False)
            app.router.add_options(path, self._cors.preflight)
        return app

    async def _task(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/tasks/{id}/events`: one task until its end."""
        self._cors.check(request)
        query = asked.query_of(request.rel_url.raw_query_string, _OF_A_TASK)
        since = asked.since_of(asked.last_id_of(request.headers, query))
        sub: dict[str, Any] = {"tree": asked.tree_of(query), "tail": asked.tail_of(query)}
        try:
            task = UUID(request.match_info["task"])
        except ValueError:
            raise web.HTTPNotFound from None
        if since is not None:
            sub["from"] = list(since)
        return await self._follow(request, query, {"task": str(task), **sub}, task, since, back=since is not None)

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/events`: the feed of all tasks, or of some."""
        self._cors.check(request)
        query = asked.query_of(request.rel_url.raw_query_string, _OF_A_FEED, {asked.LABEL})
        back = asked.been_live(asked.last_id_of(request.headers, query))
        return await self._follow(request, query, {"feed": "tasks", "filter": asked.filter_of(query)}, back=back)

    async def _follow(
        self,
        request: web.Request,
        query: asked.Query,
        what: dict[str, Any],
        task: UUID | None = None,
        since: Position | None = None,
        *,
        back: bool,
    ) -> web.StreamResponse:
        """Do for the client what it would do itself on a WebSocket, and write what comes of it.

        `what` are members of a `sub` frame; `back`: the client was here before.
        """
        if self._edge.full:
            if back:
                return _later()
            raise unavailable("This notifier is full or about to stop.")
        visit = Visit(self._edge.admission)
        now = asyncio.get_running_loop().time()
        detail = visit.come(request.remote, request.headers.getall("X-Forwarded-For", []), now)
        if detail is not None:
            raise too_many(detail)
        try:
            session = await self._greeted(request.headers, query)
            return await self._write(Stream(request, session, visit, task, since), session, what)
        finally:
            visit.over()

    async def _write(self, stream: Stream, session: Session, what: dict[str, Any]) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        self._edge.enter(stream)
        self._edge.count(stream, session)
        try:
            session.receive(orjson.dumps({"t": "sub", "id": SUB, **what}).decode(), now)
            self._edge.serve(stream)
            return await stream.run()
        finally:
            self._edge.leave(stream)
            stream.over()

    async def _greeted(self, headers: asked.Headers, query: asked.Query) -> Session:
        """Return the session of a client that came with a ticket or a key. Raises Refusal without a good one."""
        loop = asyncio.get_running_loop()
        session = self._edge.session(loop.time(), pings=False)
        ticket = asked.ticket_in(headers, query)
        if ticket is None:
            token = asked.token_of(headers)
            try:
                await self._edge.learn(token)
            except Unavailable as error:
                raise unavailable(str(error)) from None
            hello = {"t": "hello", "token": token}
            session.receive(orjson.dumps(hello).decode(), loop.time())
            if session.principal is None:
                raise asked.not_let_in(session.closing)
            return session
        try:
            principal = await self._edge.holder_of(ticket)
        except Unavailable as error:
            raise unavailable(str(error)) from None
        if principal is None:
            raise unauthenticated(BAD_TICKET, given=True)
        session.let_in(principal, loop.time())
        return session


async def _seal(_request: web.Request, response: web.StreamResponse) -> None:
    """Say of no answer what wrote it, and of each that it is what it says."""
    response.headers.pop(hdrs.SERVER, None)
    response.headers["X-Content-Type-Options"] = "nosniff"


def _later() -> web.Response:
    """Return the answer to one who comes back at a bad moment: an EventSource gives up at any other status."""
    after = random.randint(0, RETURN_WITHIN_MS)  # noqa: S311 - spread, not secrecy
    body = sse.retry(after) + b'event: bye\ndata: {"t":"bye","after":%d}\n\n' % after
    return web.Response(body=body, headers={**HEADERS, hdrs.CONNECTION: "close"})
