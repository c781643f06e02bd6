"""The composition root: settings in, an ASGI application out. Connections live as long as its lifespan."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from milepost.acknowledged import Acknowledged
from milepost.announce import Announcer
from milepost.errors import Unavailable
from milepost.live import Buckets, Snapshots, Tickets, connect
from milepost.log import Topics, Writer
from milepost.runtime.auth import Authenticator
from milepost.runtime.batching import GroupCommit
from milepost.runtime.lifecycle import background
from milepost.runtime.loglevels import LogLevel
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics import reading
from milepost.runtime.metrics.exposition import Exposition
from milepost.runtime.metrics.serving import measuring
from milepost.runtime.settings import Settings
from milepost.store import open_pool
from milepost.store.cancellations import Cancellations
from milepost.store.connection import Pool, transient
from milepost.store.deadletters import DeadLetters
from milepost.store.keys import Keys
from milepost.store.loglevels import LogLevels
from milepost.store.queues import Queues
from milepost.store.retention import Retention
from milepost.store.webhooks import Webhooks
from milepost_api import meter
from milepost_api.backlog import Backlog
from milepost_api.cursors import Cursors
from milepost_api.dead_records import DeadRecords
from milepost_api.endpoint import Endpoint, internal, trace_id_for
from milepost_api.known_types import KnownTypes
from milepost_api.measured import Measured
from milepost_api.openapi import describe
from milepost_api.problems import Refusal
from milepost_api.rates import Rates
from milepost_api.reply import header_of
from milepost_api.routes import (
    attempts,
    batch,
    cancel,
    catalogue,
    dead_letters,
    documentation,
    events,
    health,
    keys,
    metrics,
    pages,
    queues,
    quotas,
    retention,
    retry,
    submit,
    tasks,
    tenants,
    watch,
    webhooks,
)
from milepost_api.services import Services
from milepost_api.trees import Trees
from milepost_api.waiting import Waits
from milepost_schemas.problem import ProblemType

_ROOMS: Final = (  # busiest first
    submit, batch, tasks, watch, cancel, retry, attempts, dead_letters, queues, retention, events, catalogue, keys,
    tenants, quotas, webhooks, health, metrics,
    documentation,
)  # fmt: skip
_SUBMIT_LIMIT: Final = 500
_READ_LIMIT: Final = 100
_POOL: Final = 8
_FLUSH_S: Final = 3.0

log = get_logger("milepost.api")


class _App(FastAPI):
    """FastAPI, with a short way for exact paths: an Endpoint answers every error itself and needs no middleware."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.direct: dict[tuple[str, str], ASGIApp] = {}
        self.offered: dict[str, set[str]] = {}
        """Exact paths, and the methods each has."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once, or go through FastAPI: what came from a page (Origin) may need CORS headers."""
        if scope["type"] == "http":
            app = self.direct.get((scope["method"], scope["path"]))
            if app is not None and header_of(scope, b"origin") is None:
                scope["app"] = self
                await app(scope, receive, send)
                return
            offered = self.offered.get(scope["path"])
            # Or the router would take its last part for an id, where a route with one has that method.
            if offered is not None and scope["method"] not in {*offered, "OPTIONS"}:
                meter.strayed(scope["method"], ProblemType.METHOD.value.status)
                await _no_such_method(offered).reply(trace_id_for(scope))(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it connects to nothing before its lifespan begins."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _services(settings) as services:
            app.state.services = services
            yield

    app = _App(
        title="Milepost",
        summary="Long tasks, with progress people can watch live.",
        version="1",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # Clients that are generated from the description call their functions so: a handler's name says what it does.
        generate_unique_id_function=lambda route: route.name,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    setattr(app, "openapi", lambda: describe(app))  # noqa: B010 - the documented way, which a type checker refuses
    for room in (*_ROOMS, pages) if settings.pages else _ROOMS:
        room.room(app.router)
    app.direct = {
        (method, route.path): route.app
        for route in app.router.routes
        if isinstance(route, Endpoint) and not route.param_convertors
        for method in route.methods or ()
    }
    for method, path in app.direct:
        app.offered.setdefault(path, set()).add(method)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "Prefer",
                "traceparent",
                "tracestate",
                "baggage",
            ],
            expose_headers=[
                "ETag",
                "Idempotent-Replayed",
                "Location",
                "Preference-Applied",
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
            ],
        )
    if settings.api_key is None:
        log.warning("MILEPOST_API_KEY is not set: only keys that were made before let anybody in")
    return app


@contextlib.asynccontextmanager
async def _services(settings: Settings) -> AsyncIterator[Services]:
    pool = await open_pool(settings, "api", size=_POOL)
    redis = connect(settings)  # when the first ticket is asked for
    store, key_store = Queues(pool), Keys(pool)
    auth = Authenticator(settings, key_store)
    writer = Writer(settings, "milepost-api")
    acknowledged = Acknowledged(store)
    read = GroupCommit(store.get_many, limit=_READ_LIMIT, lanes=2, transient=transient)
    announcer = Announcer(writer, Topics(settings.topic_prefix), "/milepost/api", acknowledged, store.room)
    services = Services(
        settings=settings,
        auth=auth,
        store=store,
        dead_letters=DeadLetters(pool),
        queues=store,
        retention=Retention(pool),
        keys=key_store,
        rates=Rates(Buckets(redis)),
        backlog=Backlog(key_store.waiting),
        webhooks=Webhooks(pool),
        submit=GroupCommit(meter.counting(store.submit), limit=_SUBMIT_LIMIT, lanes=1, transient=transient),
        read=read,
        earlier=GroupCommit(store.submitted_before, limit=_READ_LIMIT, lanes=1, transient=transient),
        writer=writer,
        announcer=announcer,
        trees=Trees(Cancellations(pool), announcer),
        types=KnownTypes(store.types),
        cursors=Cursors(settings),
        waits=Waits(read),
        standings=health.dependencies(settings, store, writer),
        tickets=Tickets(redis, auth.tokens),
        snapshots=Snapshots(redis),
        exposition=Exposition("api"),
    )
    aside = DeadRecords(settings, services.dead_letters)
    services.exposition.asks(Measured(partial(store.measure, settings.tenant)).look)
    services.exposition.reads(
        reading.dependencies(lambda: services.standings.known), reading.pool(pool), reading.writer(writer)
    )
    try:
        async with (
            measuring(services.exposition, settings),
            background(
                ("kafka writer", writer.run),
                ("acknowledged", acknowledged.run),
                ("window", announcer.look_for_room),
                ("types", services.types.run),
                ("dead letters", aside.run),
                ("health", services.standings.run),
                ("trees", services.trees.run),
                ("keys", auth.ring.run),
                ("backlog", services.backlog.run),
                ("log level", LogLevel(LogLevels(pool), "api").follow),
            ),
        ):
            yield services
            await services.submit.drain()
            if writer.connected:
                await writer.flush(_FLUSH_S)
            await acknowledged.drain()
            await _write_used(auth)
    finally:
        await redis.aclose()
        await _close(pool)


async def _write_used(auth: Authenticator) -> None:
    try:
        async with asyncio.timeout(_FLUSH_S):
            await auth.ring.write_used()
    except (TimeoutError, Unavailable):
        pass  # to about a minute is all that was promised


async def _close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(_FLUSH_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _http_error(request: Request, error: Exception) -> Any:
    """Answer what Starlette's router refuses: unknown paths and methods."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    meter.strayed(request.method, status)
    if status == ProblemType.NOT_FOUND.value.status:
        refusal = Refusal(ProblemType.NOT_FOUND, "There is no such path. GET /v1/openapi.json lists them all.")
    elif status == ProblemType.METHOD.value.status:
        refusal = _no_such_method(_methods(request))
    else:
        log.error("refused by the framework", status=status, error=str(error))
        refusal = internal()
    return refusal.reply(trace_id_for(request.scope))


def _no_such_method(offered: set[str]) -> Refusal:
    allowed = ", ".join(sorted(offered))
    return Refusal(ProblemType.METHOD, f"Here you can use {allowed}.", headers=[(b"allow", allowed.encode())])


def _methods(request: Request) -> set[str]:
    router: APIRouter = request.app.router
    path = request.scope["path"]
    found: set[str] = set()
    for route in router.routes:
        if getattr(route, "path_regex", None) is not None and route.path_regex.match(path):  # type: ignore[attr-defined]
            found |= route.methods  # type: ignore[attr-defined]
    return found


async def _bug(request: Request, error: Exception) -> Any:
    """Answer an exception from outside the endpoints; Starlette raises it again, so the server logs it."""
    trace_id = trace_id_for(request.scope)
    meter.strayed(request.method, 500)
    log.error("request failed outside its endpoint", error=repr(error), trace_id=trace_id)
    return internal().reply(trace_id)
