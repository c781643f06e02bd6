"""GET /v1/livez and /v1/readyz, also without the prefix."""

import asyncio
from typing import Any, Final

import orjson
from fastapi import APIRouter

from milepost.errors import Unavailable
from milepost.log import Writer
from milepost.runtime.settings import Settings
from milepost.runtime.standing import Dependency, Standings
from milepost.store import Store, pending
from milepost_api.contracts import Liveness, Readiness
from milepost_api.endpoint import Call, OpenEndpoint
from milepost_api.openapi import answer
from milepost_api.reply import Reply, json_reply

_PATIENCE_S: Final = 3.0
_WITHOUT_POSTGRES: Final = "nothing is accepted or shown; running handlers go on, and workers keep their outcomes"
_WITHOUT_KAFKA: Final = (
    "tasks are accepted and start about a second later; watchers see nothing of them, completions wait in the outbox"
)
_ALIVE: Final = orjson.dumps(Liveness().model_dump())


async def livez(_call: Call) -> Reply:
    """Say that the process runs, without asking anybody."""
    return json_reply(_ALIVE)


async def readyz(call: Call) -> Reply:
    """Say whether requests can be served: with Postgres they can; without Kafka tasks start a second later."""
    standings = await call.services.standings.look()
    served, connected = standings["postgres"].ok, standings["kafka"].ok
    status = "unready" if not served else "ready" if connected else "degraded"
    body = {"status": status, "checks": {name: standing.shown() for name, standing in standings.items()}}
    return json_reply(orjson.dumps(body), 200 if served else 503)


def dependencies(settings: Settings, store: Store, writer: Writer) -> Standings:
    """Return what this service depends on."""
    migrated = asyncio.Event()

    async def postgres() -> tuple[bool, str]:
        problem = await _postgres(settings, store, migrated)
        return problem is None, problem or "answers"

    async def kafka() -> tuple[bool, str]:
        return writer.connected, "connected" if writer.connected else "does not answer"

    return Standings({"postgres": Dependency(postgres, _WITHOUT_POSTGRES), "kafka": Dependency(kafka, _WITHOUT_KAFKA)})


async def _postgres(settings: Settings, store: Store, migrated: asyncio.Event) -> str | None:
    """Return what is wrong. `migrated` is set once no migration is missing: that cannot change while we run."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await store.ping()
            if migrated.is_set():
                return None
            missing = await pending(settings)
    except TimeoutError:
        return f"no answer within {_PATIENCE_S:g} s"
    except Unavailable as error:
        return str(error)
    if missing:
        return f"migrations are missing: {', '.join(missing)}. Run: milepost migrate"
    migrated.set()
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
