"""GET /v1/livez and /v1/readyz, also without the prefix."""

import asyncio
from typing import Any, Final

import orjson
from fastapi import APIRouter

from milepost.errors import Unavailable
from milepost.store import pending
from milepost_api.contracts import Liveness, Readiness
from milepost_api.endpoint import Call, OpenEndpoint
from milepost_api.openapi import answer
from milepost_api.reply import Reply, json_reply
from milepost_api.services import Services

_PATIENCE_S: Final = 3.0
_ALIVE: Final = orjson.dumps(Liveness().model_dump())


async def livez(_call: Call) -> Reply:
    """Say that the process runs, without asking anybody."""
    return json_reply(_ALIVE)


async def readyz(call: Call) -> Reply:
    """Say whether requests can be served: with Postgres they can; without Kafka tasks start a second later."""
    services = call.services
    problem = await _postgres(services)
    connected = services.writer.connected
    status = "unready" if problem else "ready" if connected else "degraded"
    without = "does not answer; tasks are accepted and start a second later, watchers see nothing of them meanwhile"
    checks: dict[str, Any] = {
        "postgres": {"ok": problem is None, "detail": problem or "answers"},
        "kafka": {"ok": connected, "detail": "connected" if connected else without},
    }
    return json_reply(orjson.dumps({"status": status, "checks": checks}), 503 if problem else 200)


async def _postgres(services: Services) -> str | None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await services.store.ping()
            return await _not_migrated(services)
    except TimeoutError:
        return f"no answer within {_PATIENCE_S:g} s"
    except Unavailable as error:
        return str(error)


async def _not_migrated(services: Services) -> str | None:
    if services.migrated.is_set():
        return None
    missing = await pending(services.settings)
    if missing:
        return f"migrations are missing: {', '.join(missing)}. Run: milepost migrate"
    services.migrated.set()
    return None


def room(router: APIRouter) -> None:
    """Add the routes."""
    ready: dict[int | str, Any] = {
        200: answer(Readiness, "Requests are served (`ready`, `degraded`)."),
        503: answer(Readiness, "Send no requests (`unready`)."),
    }
    for prefix in ("/v1", ""):
        shown = bool(prefix)
        router.add_api_route(
            f"{prefix}/livez",
            livez,
            methods=["GET"],
            route_class_override=OpenEndpoint,
            tags=["health"],
            summary="Whether the process runs",
            responses={200: answer(Liveness, "It does.")},
            include_in_schema=shown,
        )
        router.add_api_route(
            f"{prefix}/readyz",
            readyz,
            methods=["GET"],
            route_class_override=OpenEndpoint,
            tags=["health"],
            summary="Whether requests can be served",
            responses=dict(ready),
            include_in_schema=shown,
        )
