"""GET /v1/types and /v1/workers: what can be run, and who runs it."""

from collections.abc import Sequence

import orjson
from fastapi import APIRouter
from pydantic import BaseModel

from milepost_api.contracts import TypeList, WorkerList
from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import IF_NONE_MATCH, needs, polled, problems
from milepost_api.reply import Reply
from milepost_api.shown import conditional
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType


async def list_types(call: Call) -> Reply:
    """Show every type a worker has ever announced."""
    return _reply(call, await call.services.store.types())


async def list_workers(call: Call) -> Reply:
    """Show live workers."""
    return _reply(call, await call.services.store.workers())


def _reply(call: Call, items: Sequence[BaseModel]) -> Reply:
    body = orjson.dumps({"items": [orjson.Fragment(item.model_dump_json()) for item in items]})
    return conditional(body, call.header(b"if-none-match"))


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
            **polled(TypeList, "With the JSON Schemas of payload and result, and how many live workers run it."),
            **problems(ProblemType.UNAUTHENTICATED),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [IF_NONE_MATCH]},
    )
    router.add_api_route(
        "/v1/workers",
        list_workers,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["catalogue"],
        summary="List live workers",
        responses={**polled(WorkerList, "Oldest first."), **problems(ProblemType.UNAUTHENTICATED)},
        openapi_extra={**needs(Scope.READ), "parameters": [IF_NONE_MATCH]},
    )
