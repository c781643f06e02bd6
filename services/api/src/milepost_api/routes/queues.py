"""/v1/queues and /v1/limits: what waits and what holds it back; pauses and limits."""

from typing import Any, Final

from fastapi import APIRouter

from milepost.domain.limits import EVERYBODY, Limit, Name, Rate
from milepost.domain.limits import Scope as LimitedScope
from milepost.store.limits import LIMITS_MOST, limit_of
from milepost.store.retention import Keep
from milepost_api.asked import queue_of, read_model
from milepost_api.endpoint import Call, Endpoint, JsonEndpoint
from milepost_api.explaining import explained, shown_limit
from milepost_api.filters import Readers, read_query
from milepost_api.openapi import IF_NONE_MATCH, TASK_ID, answer, body, needs, parameter, polled, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply, json_reply
from milepost_api.routes.retention import shown_retention
from milepost_api.routes.tasks import missing, task_id
from milepost_api.shown import conditional
from milepost_api.strict_json import parse
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.queue import (
    DEPTH_MOST,
    Bounds,
    Explanation,
    LimitList,
    LimitRequest,
    Queue,
    QueueList,
)
from milepost_schemas.queue import Limit as ShownLimit
from milepost_schemas.queue import Rate as AskedRate

_REFUSED: Final = "Nothing was changed."


def _whose(text: str) -> str:
    if text not in {"own", "all"}:
        raise ValueError("should be own or all")
    return text


_ALL: Final[Readers] = {"tenants": ("tenants", _whose)}


async def list_queues(call: Call) -> Reply:
    """Show the queues a tenant has to do with."""
    store = call.services.queues
    own_retention, retention = await call.services.retention.retention(), Keep.of(call.services.settings)
    limits = [(limit, row["paused_at"]) for limit, row in await store.limit_rows(call.tenant)]
    items = []
    for row in await store.queues(call.tenant, DEPTH_MOST):
        own = [
            (limit, paused_at)
            for limit, paused_at in limits
            if limit.name.scope is LimitedScope.QUEUE and limit.name.name == row["queue"]
        ]
        items.append(
            Queue(
                **dict(row),
                paused_at=min((paused_at for _, paused_at in own if paused_at is not None), default=None),
                limits=[shown_limit(limit, paused_at) for limit, paused_at in own if _holds(limit)],
                retention=shown_retention(retention.over(own_retention.get(row["queue"]))),
            )
        )
    return conditional(QueueList(items=items).model_dump_json().encode(), call.header(b"if-none-match"))


async def pause_queue(call: Call) -> Reply:
    """Let nothing of a queue start any more, within about a second; what runs goes on."""
    return await _pause(call, paused=True)


async def resume_queue(call: Call) -> Reply:
    """Let a queue go on."""
    return await _pause(call, paused=False)


async def _pause(call: Call, *, paused: bool) -> Reply:
    asked = read_query(call.scope["query_string"], _ALL)
    owner = _owner(call, all_tenants=asked.get("tenants") == "all")
    row = await call.services.queues.pause(owner, queue_of(call), paused=paused)
    return _limit(row)


async def set_queue_limits(call: Call) -> Reply:
    """Bound how many tasks of a queue run at once, and how fast they start."""
    asked = read_query(call.scope["query_string"], _ALL)
    bounds = read_model(Bounds, parse(call.content), f"This is no limit. {_REFUSED}")
    name = Name(_owner(call, all_tenants=asked.get("tenants") == "all"), LimitedScope.QUEUE, queue_of(call))
    return _limit(await call.services.queues.set_limit(name, bounds.concurrency, _rate(bounds.rate)))


async def list_limits(call: Call) -> Reply:
    """Show what a tenant's tasks are held back by."""
    items = [
        shown_limit(limit, row["paused_at"])
        for limit, row in await call.services.queues.limit_rows(call.tenant)
        if _holds(limit)
    ]
    return conditional(LimitList(items=items).model_dump_json().encode(), call.header(b"if-none-match"))


async def set_limit(call: Call) -> Reply:
    """Set a limit on a queue, a type, a key or a tenant."""
    asked = read_model(LimitRequest, parse(call.content), f"This is no limit. {_REFUSED}")
    scope = LimitedScope(asked.scope)
    if scope is LimitedScope.TENANT:
        _overseer(call, "A tenant's own limit is set by the installation's own tenant.")
        owner = EVERYBODY
    else:
        owner = _owner(call, all_tenants=asked.all_tenants)
    name = Name(owner, scope, asked.name or "")
    return _limit(await call.services.queues.set_limit(name, asked.concurrency, _rate(asked.rate)))


async def explain_task(call: Call) -> Reply:
    """Say why a task is where it is."""
    found = await explained(call.services.queues, call.tenant, task_id(call))
    if found is None:
        raise missing()
    return conditional(found.model_dump_json().encode(), call.header(b"if-none-match"))


def _holds(limit: Limit) -> bool:
    return limit.paused or limit.concurrency is not None or limit.rate is not None


def _limit(row: Any | None) -> Reply:
    if row is None:
        detail = (
            f"There are {LIMITS_MOST:,} limits and pauses already, as many as there may be. {_REFUSED} End some first."
        )
        raise Refusal(ProblemType.QUOTA, detail)
    return json_reply(shown_limit(limit_of(row), row["paused_at"]).model_dump_json().encode())


def _rate(asked: AskedRate | None) -> Rate | None:
    return None if asked is None else Rate(asked.count, asked.per)


def _owner(call: Call, *, all_tenants: bool) -> str:
    """Return whose tasks it is about. Raises Refusal (403)."""
    if not all_tenants:
        return call.tenant
    _overseer(call, "What holds for all tenants is for the installation's own tenant to set.")
    return EVERYBODY


def _overseer(call: Call, why: str) -> None:
    if not call.principal.oversees:
        raise Refusal(ProblemType.FORBIDDEN, f"{why} It takes a key of that tenant with the scope admin. {_REFUSED}")


_QUEUE: Final = parameter("queue", "path", "The queue.")
_TENANTS: Final = parameter(
    "tenants",
    "query",
    "`all`: for the tasks of all tenants, with an admin key of the installation's own tenant.",
    type="string",
    enum=["own", "all"],
    default="own",
)


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/queues",
        list_queues,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["queues"],
        summary="List queues",
        responses={
            **polled(QueueList, "By name: what waits and runs of yours, and the workers all share."),
            **problems(ProblemType.UNAUTHENTICATED),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [IF_NONE_MATCH]},
    )
    for name, handler, said in (
        ("pause", pause_queue, "Pause a queue"),
        ("resume", resume_queue, "Let a queue go on"),
    ):
        router.add_api_route(
            f"/v1/queues/{{queue}}/{name}",
            handler,
            methods=["POST"],
            route_class_override=Endpoint,
            tags=["queues"],
            summary=said,
            responses={
                200: answer(
                    ShownLimit, "Done; it holds everywhere within about a second. Repeating it changes nothing."
                ),
                **problems(ProblemType.UNAUTHENTICATED, ProblemType.QUOTA, ProblemType.INVALID),
            },
            openapi_extra={**needs(Scope.OPERATE), "parameters": [_QUEUE, _TENANTS]},
        )
    router.add_api_route(
        "/v1/queues/{queue}/limits",
        set_queue_limits,
        methods=["PUT"],
        route_class_override=JsonEndpoint,
        tags=["queues"],
        summary="Set the limits of a queue",
        responses={200: answer(ShownLimit, "As it holds from now on."), **_PROBLEMS},
        openapi_extra={
            **needs(Scope.OPERATE),
            **body(Bounds, "What is left out is no bound."),
            "parameters": [_QUEUE, _TENANTS],
        },
    )
    router.add_api_route(
        "/v1/limits",
        list_limits,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["queues"],
        summary="List limits",
        responses={
            **polled(LimitList, "Those your tasks stand under, pauses too."),
            **problems(ProblemType.UNAUTHENTICATED),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [IF_NONE_MATCH]},
    )
    router.add_api_route(
        "/v1/limits",
        set_limit,
        methods=["PUT"],
        route_class_override=JsonEndpoint,
        tags=["queues"],
        summary="Set a limit",
        responses={200: answer(ShownLimit, "As it holds from now on."), **_PROBLEMS},
        openapi_extra={**needs(Scope.OPERATE), **body(LimitRequest, "What is left out is no bound.")},
    )
    router.add_api_route(
        "/v1/tasks/{id}/explain",
        explain_task,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["tasks"],
        summary="Explain why a task does not run",
        responses={
            **polled(Explanation, "One reason, in words and in members."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [TASK_ID, IF_NONE_MATCH]},
    )


_PROBLEMS: Final = problems(
    ProblemType.MALFORMED,
    ProblemType.UNAUTHENTICATED,
    ProblemType.QUOTA,
    ProblemType.TOO_LARGE,
    ProblemType.MEDIA,
    ProblemType.INVALID,
)
