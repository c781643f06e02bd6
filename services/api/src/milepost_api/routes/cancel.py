"""POST /v1/tasks/{id}/cancel."""

from uuid import UUID

from fastapi import APIRouter

from milepost.errors import Unavailable
from milepost.runtime.logs import get_logger
from milepost.runtime.transitions import row_moved
from milepost_api import meter
from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import TASK_ID, answer, needs, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_api.routes.tasks import missing, task_id
from milepost_api.shown import accepted, row_bytes
from milepost_schemas import Task, TaskState
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType

log = get_logger("milepost.api.cancel")


async def cancel(call: Call) -> Reply:
    """End a task that nobody runs, ask the worker of a running one to stop it; its descendants likewise."""
    services = call.services
    outcome = await services.store.cancel(call.tenant, task_id(call))
    if outcome is None:
        raise missing()
    row = outcome.row
    state = TaskState(row["state"])
    body = row_bytes(row, services.settings)
    if outcome.moved:
        meter.ended(row["queue"], state)
        row_moved("cancel", row, row["moved_from"])
        services.announcer.ended(row)
    elif not state.terminal:
        services.announcer.cancel_request(row["id"], row["tenant"], row["traceparent"])
    elif state != TaskState.CANCELLED:
        raise Refusal(ProblemType.STATE, f"The task has {state} already; there is nothing left to cancel.")
    if outcome.tree:
        await _see_to_tree(call, row["id"])
    if state == TaskState.CANCELLED and not outcome.moved:
        return json_reply(body)
    return accepted(body, str(row["id"]))


async def _see_to_tree(call: Call, task: UUID) -> None:
    try:
        await call.services.trees.at_once(call.tenant, task)
    except Unavailable as error:
        # The task itself is cancelled, and its tree is noted: that is what the answer has to say.
        log.warning("descendants are cancelled later", task=str(task), error=str(error))


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/tasks/{id}/cancel",
        cancel,
        methods=["POST"],
        name="cancel_task",
        route_class_override=Endpoint,
        tags=["tasks"],
        summary="Cancel a task",
        status_code=202,
        responses={
            202: answer(Task, "Cancelled with its descendants; those that run, shortly.", "Location", "Retry-After"),
            200: answer(Task, "It was cancelled before."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND, ProblemType.STATE),
        },
        openapi_extra={**needs(Scope.OPERATE), "parameters": [TASK_ID]},
    )
