"""GET /v1/tasks/{id}/attempts: the runs a task had."""

from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter

from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import IF_NONE_MATCH, TASK_ID, needs, polled, problems
from milepost_api.reply import Reply
from milepost_api.routes.tasks import missing, task_id
from milepost_api.shown import as_json, conditional
from milepost_schemas import AttemptList
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType

ATTEMPTS: Final = 200


async def list_attempts(call: Call) -> Reply:
    """Show the runs of a task, the newest first."""
    task = task_id(call)
    items = await attempts_of(call, task)
    if not items and await call.services.store.get(call.tenant, task) is None:
        raise missing()
    return conditional(as_json({"items": items}), call.header(b"if-none-match"))


async def attempts_of(call: Call, task: UUID) -> list[dict[str, Any]]:
    """Return the runs of a task as the API shows them, the newest first."""
    rows = await call.services.dead_letters.attempts(call.tenant, task, ATTEMPTS)
    return [
        {**row, "error": None if row["error"] is None else orjson.Fragment(row["error"])} for row in map(dict, rows)
    ]


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/tasks/{id}/attempts",
        list_attempts,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["tasks"],
        summary="List a task's attempts",
        responses={
            **polled(AttemptList, f"The newest first, {ATTEMPTS} at most."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [TASK_ID, IF_NONE_MATCH]},
    )
