"""POST /v1/tasks: the hot path."""

import asyncio
import time

from fastapi import APIRouter

from milepost_api.endpoint import DEADLINE_S, Call, JsonEndpoint
from milepost_api.intake import Taken, read, take
from milepost_api.openapi import answer, body, needs, parameter, problems
from milepost_api.preferences import wait_of
from milepost_api.reply import Reply, json_reply
from milepost_api.shown import accepted, row_bytes, with_token
from milepost_api.strict_json import parse
from milepost_schemas import SubmitTask, Task
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.watch import AcceptedTask

_REPLAYED = (b"idempotent-replayed", b"true")


async def submit(call: Call) -> Reply:
    """Store a task, or find the one that was stored earlier under the same idempotency key."""
    key = call.header(b"idempotency-key")
    taken = await take(call.services, call.tenant, call.traceparent, read(parse(call.content), key))
    more = (_REPLAYED,) if taken.replayed else ()
    seconds = wait_of(call.header(b"prefer"))
    if seconds and not taken.state.terminal:
        return await _wait(call, taken, seconds, more)
    if taken.state.terminal:
        return json_reply(taken.body, 200, *more)
    return _accepted(call, taken, *more)


async def _wait(call: Call, taken: Taken, seconds: int, more: tuple[tuple[bytes, bytes], ...]) -> Reply:
    call.deadline.reschedule(asyncio.get_running_loop().time() + seconds + DEADLINE_S)
    more = (*more, (b"preference-applied", b"wait=%d" % seconds))
    began = time.monotonic()
    row = await call.services.waits.finished(call.tenant, taken.id, seconds)
    call.waited(time.monotonic() - began)
    call.check_again()
    if row is None:
        return _accepted(call, taken, *more)
    return json_reply(row_bytes(row, call.services.settings), 200, *more)


def _accepted(call: Call, taken: Taken, *more: tuple[bytes, bytes]) -> Reply:
    body = with_token(taken.body, call.services.auth, call.principal, taken.id)
    return accepted(body, str(taken.id), *more)


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/tasks",
        submit,
        methods=["POST"],
        name="submit_task",
        route_class_override=JsonEndpoint,
        tags=["tasks"],
        summary="Submit a task",
        status_code=202,
        responses={
            202: answer(
                AcceptedTask,
                "Stored; it will run.",
                "Location",
                "Retry-After",
                "Idempotent-Replayed",
                "Preference-Applied",
            ),
            200: answer(Task, "Already finished.", "Idempotent-Replayed", "Preference-Applied"),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
                ProblemType.PAYLOAD,
                ProblemType.UNKNOWN_TYPE,
                ProblemType.KEY_REUSED,
                ProblemType.QUOTA,
            ),
        },
        openapi_extra={
            **needs(Scope.SUBMIT),
            **body(SubmitTask, "Up to 1 MiB."),
            "parameters": [
                parameter(
                    "Idempotency-Key",
                    "header",
                    "Makes repeating the request safe: it finds the task of the first time.",
                    type="string",
                    minLength=1,
                    maxLength=255,
                ),
                parameter("Prefer", "header", "`wait=N`: answer when the task is finished, or after N ≤ 60 seconds."),
                parameter("traceparent", "header", "W3C Trace Context; the task joins this trace."),
            ],
        },
    )
