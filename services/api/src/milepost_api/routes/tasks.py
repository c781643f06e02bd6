"""GET /v1/tasks, GET /v1/tasks/{id}, its result and its children."""

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter

from milepost.domain.feed_filter import Filter
from milepost.domain.grant import Grant
from milepost.store import Filters
from milepost_api.asked import path_id
from milepost_api.endpoint import Call, WatchEndpoint
from milepost_api.filters import LIMIT, read_filters
from milepost_api.openapi import IF_NONE_MATCH, TASK_ID, needs, parameter, polled, problems
from milepost_api.problems import Refusal
from milepost_api.reply import Reply
from milepost_api.shown import conditional, row_bytes
from milepost_schemas import Task, TaskPage, TaskState
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType


async def list_tasks(call: Call) -> Reply:
    """Show a page of tasks, newest first, without their results."""
    filters, cursor = read_filters(call.scope["query_string"])
    return await _page(call, narrowed(call.principal.grant, filters), cursor)


async def list_children(call: Call) -> Reply:
    """Show a page of a task's children, newest first, without their results."""
    filters, cursor = read_filters(call.scope["query_string"], below=True)
    row = await find(call)
    filters = replace(filters, parent_id=row["id"])
    grant = call.principal.grant
    return await _page(call, filters if grant.descendants else narrowed(grant, filters), cursor)


async def _page(call: Call, filters: Filters, cursor: str | None) -> Reply:
    services = call.services
    after = None if cursor is None else services.cursors.read(call.tenant, filters, cursor)
    # One more than asked for tells whether there is another page.
    rows = await services.store.find(call.tenant, replace(filters, after=after, limit=filters.limit + 1))
    page = rows[: filters.limit]
    following = services.cursors.sign(call.tenant, filters, page[-1]["id"]) if len(rows) > len(page) else None
    settings = services.settings
    items = [orjson.Fragment(row_bytes(row, settings, with_result=False)) for row in page]
    return conditional(orjson.dumps({"items": items, "next": following}), call.header(b"if-none-match"))


async def get_task(call: Call) -> Reply:
    """Show one task."""
    row = await find(call)
    # Progress here is as old as the last lease renewal (5 s); a newer snapshot from Redis would be laid over it here.
    return conditional(row_bytes(row, call.services.settings), call.header(b"if-none-match"))


async def get_result(call: Call) -> Reply:
    """Give the result of a task that succeeded, as its handler returned it, whatever its size."""
    row = await find(call)
    state = TaskState(row["state"])
    if state == TaskState.SUCCEEDED:
        return conditional((row["result"] or "null").encode(), call.header(b"if-none-match"))
    if not state.terminal:
        detail = f"The task is {state}; it has no result yet. Ask again, or watch links.stream."
        raise Refusal(ProblemType.STATE, detail, headers=((b"retry-after", b"1"),))
    why = orjson.loads(row["error"])["message"] if row["error"] else "there is no error message"
    raise Refusal(ProblemType.STATE, f"The task has no result: it {_ENDINGS[state]} ({why}).")


_ENDINGS: Final = {TaskState.FAILED: "failed", TaskState.CANCELLED: "was cancelled"}


def task_id(call: Call) -> UUID:
    """Return the id in the path. Raises Refusal (404) for what is no id."""
    return path_id(call, "This is not the id of a task: ids are UUIDs, as POST /v1/tasks gave them.")


def missing() -> Refusal:
    """Return the refusal for an unknown id and for another tenant's: nobody can tell which."""
    detail = (
        "You have no task with this id. Finished tasks are deleted when they are older than their queue keeps them."
    )
    return Refusal(ProblemType.NOT_FOUND, detail)


async def find(call: Call) -> Any:
    """Return the row of the task in the path. Raises Refusal (404)."""
    task = task_id(call)
    row = await call.services.read((call.tenant, task))
    if not await covers(call, task, row):
        raise Refusal(ProblemType.FORBIDDEN, "Your watch token does not cover this task.")
    if row is None:
        raise missing()
    return row


async def covers(call: Call, task: UUID, row: Any) -> bool:
    """Whether who asks may see a task; `row` is None if there is none. Raises Unavailable."""
    grant = call.principal.grant
    by_id = grant.covers(task)
    if by_id is not None or row is None:
        return by_id is True
    members = {name: None if row[name] is None else str(row[name]) for name in ("id", "parent_id", "root_id")}
    covered = grant.covers_members({**members, "labels": orjson.loads(row["labels"])})
    if covered is None and grant.task is not None:
        return bool(await call.services.store.descendants_among(call.tenant, [(task, grant.task)]))
    return covered is True


def narrowed(grant: Grant, filters: Filters) -> Filters:
    """Return the filters of a list with what the grant leaves out. Raises Refusal if it leaves nothing."""
    if grant.task is not None and grant.task in {filters.parent_id, filters.root_id}:
        return filters  # all of it is below the task that the token is for, or is that task
    parent, root = (None if task is None else str(task) for task in (filters.parent_id, filters.root_id))
    only = grant.narrowed(Filter(filters.type, filters.queue, tuple(sorted(filters.labels.items())), parent, root))
    if only is None:
        raise Refusal(ProblemType.FORBIDDEN, "Your watch token does not cover this list.")
    parent_id, root_id = (None if task is None else UUID(task) for task in (only.parent, only.root))
    labels = dict(only.labels)
    return replace(filters, type=only.type, queue=only.queue, labels=labels, parent_id=parent_id, root_id=root_id)


def _text(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return parameter(name, "query", description, **schema)


_FILTERS: Final = [
    _text(
        "state",
        "Repeat it, or put commas between.",
        type="array",
        items={"type": "string", "enum": list(TaskState)},
    ),
    _text("type", "Only this type."),
    _text("queue", "Only this queue."),
    _text("label", "`NAME=VALUE`; repeat it for tasks that have all.", type="array", items={"type": "string"}),
    _text("parent", "Only children of this task.", type="string", format="uuid"),
    _text("root", "Only this task, if it has no parent, and all below it.", type="string", format="uuid"),
    _text("created_from", "Made at this instant or later.", type="string", format="date-time"),
    _text("created_before", "Made before this instant.", type="string", format="date-time"),
    _text("limit", "Tasks on a page.", type="integer", minimum=1, maximum=LIMIT, default=50),
    _text("cursor", "`next` of the page before, with the same filters."),
]
_FILTERS_BELOW: Final = [each for each in _FILTERS if each["name"] not in {"parent", "root"}]


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/tasks",
        list_tasks,
        methods=["GET"],
        route_class_override=WatchEndpoint,
        tags=["tasks"],
        summary="List tasks",
        responses={
            **polled(TaskPage, "Newest first."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.INVALID),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [*_FILTERS, IF_NONE_MATCH]},
    )
    router.add_api_route(
        "/v1/tasks/{id}/children",
        list_children,
        methods=["GET"],
        route_class_override=WatchEndpoint,
        tags=["tasks"],
        summary="List a task's children",
        responses={
            **polled(TaskPage, "Newest first."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND, ProblemType.INVALID),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [TASK_ID, *_FILTERS_BELOW, IF_NONE_MATCH]},
    )
    router.add_api_route(
        "/v1/tasks/{id}",
        get_task,
        methods=["GET"],
        route_class_override=WatchEndpoint,
        tags=["tasks"],
        summary="Get a task",
        responses={
            **polled(Task, "The task as it is now."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND),
        },
        openapi_extra={
            **needs(Scope.READ),
            "parameters": [TASK_ID, IF_NONE_MATCH],
        },
    )
    router.add_api_route(
        "/v1/tasks/{id}/result",
        get_result,
        methods=["GET"],
        route_class_override=WatchEndpoint,
        tags=["tasks"],
        summary="Get a task's result",
        responses={
            **polled(None, "The result."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND, ProblemType.STATE),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [TASK_ID, IF_NONE_MATCH]},
    )
