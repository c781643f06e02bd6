"""GET /v1/types and /v1/workers: what can be run, and who runs it."""

from collections.abc import Sequence

import orjson
from fastapi import APIRouter
from pydantic import BaseModel

from milepost_api.contracts import TypeList, WorkerList
from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import answer, needs, problems
from milepost_api.reply import Reply, json_reply
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType


async def list_types(call: Call) -> Reply:
    """Show every type a worker has ever announced."""
    return _reply(await call.services.store.types())


async def list_workers(call: Call) -> Reply:
    """Show live workers."""
    return _reply(await call.services.store.workers())


def _reply(items: Sequence[BaseModel]) -> Reply:
    return json_reply(orjson.dumps({"items": [orjson.Fragment(item.model_dump_json()) for item in items]}))


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/types",
        list_types,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["catalogue"],
        summary="List task types",
        responses={
            200: answer(TypeList, "With the JSON Schemas of payload and result, and how many live workers run it."),
            **problems(ProblemType.UNAUTHENTICATED),
        },
        openapi_extra=needs(Scope.READ),
    )
    router.add_api_route(
        "/v1/workers",
        list_workers,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["catalogue"],
        summary="List live workers",
        responses={200: answer(WorkerList, "Oldest first."), **problems(ProblemType.UNAUTHENTICATED)},
        openapi_extra=needs(Scope.READ),
    )
