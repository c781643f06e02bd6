"""GET /v1/tasks/{id}/events: what happened to a task, as far as anybody remembers."""

from typing import Any, Final

import orjson
from fastapi import APIRouter

from milepost.errors import Unavailable
from milepost.live.snapshots import View
from milepost_api.endpoint import Call, Endpoint
from milepost_api.openapi import IF_NONE_MATCH, TASK_ID, needs, polled, problems
from milepost_api.reply import Reply
from milepost_api.routes.attempts import attempts_of
from milepost_api.routes.tasks import find
from milepost_api.shown import as_json, conditional
from milepost_schemas.key import Scope
from milepost_schemas.position import Position
from milepost_schemas.problem import ProblemType
from milepost_schemas.queue import EventList

_BEFORE_ALL: Final = Position(-1, 0)
_FIRST: Final = Position(0, 0)
_OUTCOMES: Final = {"failed": "retrying", "released": "queued", "lease_lost": "lease_lost"}
"""Of runs that did not end their task → the event that told of it."""


async def list_events(call: Call) -> Reply:
    """Show what happened: from the live history while it is kept, else what Postgres knows."""
    row = await find(call)
    view = await _live(call, row)
    if view is not None and view.history:
        items = [
            {"kind": event.kind, "at": list(event.at), "time": None, "data": orjson.Fragment(event.data)}
            for event in view.history
        ]
        if view.history[0].at > _FIRST:
            # Nobody comes back from before the very first event, so the relay does not keep it.
            items.insert(0, _event("queued" if row["due_at"] is None else "scheduled", row["created_at"], at=[0, 0]))
        return _reply(call, "history", items)
    return _reply(call, "store", _remembered(row, await attempts_of(call, row["id"])))


async def _live(call: Call, row: Any) -> View | None:
    try:
        return await call.services.snapshots.read_since(call.tenant, row["id"], _BEFORE_ALL)
    except Unavailable:
        return None


def _remembered(row: Any, attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events that follow from a row and its runs, oldest first. Positions within an epoch are forgotten."""
    first = "scheduled" if row["due_at"] is not None and not attempts else "queued"
    items = [_event(first, row["created_at"])]
    for run in reversed(attempts):
        if run["started_at"] is not None:
            items.append(_event("started", run["started_at"], at=[run["epoch"], 0], attempt=run["attempt"]))
        if run["outcome"] != "running":
            kind = _OUTCOMES.get(run["outcome"], run["outcome"])
            kind = run["outcome"] if run["finished_at"] == row["finished_at"] else kind
            items.append(_event(kind, run["finished_at"], attempt=run["attempt"], error=run["error"]))
    if row["finished_at"] is not None and not any(item["time"] == row["finished_at"] for item in items):
        items.append(_event(row["state"], row["finished_at"]))
    return items


def _event(kind: str, time: Any, at: list[int] | None = None, **data: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "at": at,
        "time": time,
        "data": {name: value for name, value in data.items() if value is not None},
    }


def _reply(call: Call, source: str, items: list[dict[str, Any]]) -> Reply:
    body = as_json({"source": source, "items": items})
    return conditional(body, call.header(b"if-none-match"))


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/tasks/{id}/events",
        list_events,
        methods=["GET"],
        route_class_override=Endpoint,
        tags=["tasks"],
        summary="List what happened to a task",
        responses={
            **polled(EventList, "Oldest first: the last 256 events or so while the live history is kept."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND),
        },
        openapi_extra={**needs(Scope.READ), "parameters": [TASK_ID, IF_NONE_MATCH]},
    )
