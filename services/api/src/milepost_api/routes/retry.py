"""POST /v1/tasks/{id}/retry."""

from typing import Any, Final

import uuid_utils.compat as uuids
from fastapi import APIRouter

from milepost.runtime.transitions import row_moved
from milepost_api.again import run_again
from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import TASK_ID, answer, needs, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_api.routes.tasks import missing, task_id
from milepost_api.shown import accepted, row_bytes, with_token
from milepost_schemas import Task, TaskState
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.watch import AcceptedTask

_AGAIN: Final = (TaskState.FAILED, TaskState.CANCELLED)


async def retry(call: Call) -> Reply:
    """Have a failed or cancelled task run again, its attempts counted anew."""
    services = call.services
    task = task_id(call)
    rows = await run_again(services, call.tenant, [task], uuids.uuid7(), states=_AGAIN)
    if rows:
        row_moved("replay", rows[0], rows[0]["moved_from"])
        services.announcer.replayed(rows[0])
        body = with_token(row_bytes(rows[0], services.settings), services.auth, call.principal, task)
        return accepted(body, str(task))
    row = await services.store.get(call.tenant, task)
    if row is None:
        raise missing()
    if await _waits_again(call, row):
        # Somebody was faster, or this is the same request once more.
        return json_reply(row_bytes(row, services.settings))
    how = "has succeeded" if row["state"] == TaskState.SUCCEEDED else f"is {row['state']}: it is not over"
    detail = f"The task {how}. Only a task that failed or was cancelled can be retried. Nothing was changed."
    raise Refusal(ProblemType.STATE, detail)


async def _waits_again(call: Call, row: Any) -> bool:
    """Whether a task was retried and has not started since."""
    if row["state"] not in {TaskState.QUEUED, TaskState.SCHEDULED} or row["attempt"] > 0:
        return False
    return await call.services.dead_letters.was_replayed(call.tenant, row["id"])


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/tasks/{id}/retry",
        retry,
        methods=["POST"],
        name="retry_task",
        route_class_override=Endpoint,
        tags=["tasks"],
        summary="Retry a task that failed or was cancelled",
        status_code=202,
        responses={
            202: answer(AcceptedTask, "It is queued again; its attempts start again.", "Location", "Retry-After"),
            200: answer(Task, "It was retried before and has not started yet."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND, ProblemType.STATE, ProblemType.QUOTA),
        },
        openapi_extra={**needs(Scope.OPERATE), "parameters": [TASK_ID]},
    )
