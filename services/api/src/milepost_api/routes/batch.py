"""POST /v1/tasks/batch."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import orjson
from fastapi import APIRouter

from milepost.errors import Unavailable
from milepost.runtime.tracing import trace_id_of
from milepost.store import NewTask, Submitted
from milepost_api.contracts import Batch, BatchAnswer
from milepost_api.endpoint import Call, LargeJsonEndpoint
from milepost_api.intake import Offer, Taken, read, take, take_soon, taken
from milepost_api.openapi import answer, body, needs, problems
from milepost_api.problems import Refusal, finding, unavailable
from milepost_api.reply import Reply, json_reply
from milepost_api.strict_json import parse
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType

LIMIT: Final = 1000
Outcome = Taken | Refusal | Unavailable


async def submit_batch(call: Call) -> Reply:
    """Store many tasks; each is accepted or refused on its own."""
    items = _items(parse(call.content))
    outcomes = await _take_all(call, items)
    away = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    if len(away) == len(outcomes):
        raise away[0]
    trace_id = trace_id_of(call.traceparent)
    return json_reply(orjson.dumps({"results": [_result(outcome, trace_id) for outcome in outcomes]}))


def _items(document: Any) -> list[Any]:
    rows = []
    if type(document) is not dict or type(document.get("tasks")) is not list:
        rows.append(finding(("tasks",), "should be a list of tasks"))
    else:
        rows += [finding((name,), "is not a member of a batch") for name in document if name != "tasks"][:5]
        if not 1 <= len(document["tasks"]) <= LIMIT:
            rows.append(finding(("tasks",), f"should hold 1 to {LIMIT} tasks"))
    if rows:
        raise Refusal(ProblemType.INVALID, "This is not a batch. Nothing was stored.", rows)
    tasks: list[Any] = document["tasks"]
    return tasks


async def _take_all(call: Call, items: list[Any]) -> list[Outcome]:
    """Take all at once; but what repeats a key of this batch comes after it, so that the first one wins."""
    split = [_split(item) for item in items]
    seen: set[str] = set()
    late: list[int] = []
    for index, (_, key) in enumerate(split):
        if isinstance(key, str):
            if key in seen:
                late.append(index)
            seen.add(key)
    outcomes: dict[int, Outcome] = {}
    for wave in (sorted(set(range(len(split))) - set(late)), late):
        outcomes |= zip(wave, await _take_wave(call, [split[index] for index in wave]), strict=True)
    return [outcomes[index] for index in range(len(split))]


async def _take_wave(call: Call, items: list[tuple[Any, Any]]) -> list[Outcome]:
    """Take all at once. Most wait for nothing but the write that they share, and get no asyncio task of their own."""
    outcomes: dict[int, Outcome] = {}
    writes: dict[int, tuple[NewTask, asyncio.Future[Submitted]]] = {}
    others: dict[int, Awaitable[Outcome]] = {}
    for index, (members, key) in enumerate(items):
        try:
            offer = read(members, key)
            soon = take_soon(call.services, call.tenant, call.traceparent, offer)
        except (Refusal, Unavailable) as error:
            outcomes[index] = error
        else:
            if soon is None:
                others[index] = _take(call, offer)
            else:
                writes[index] = soon
    written = asyncio.gather(*(write for _, write in writes.values()), return_exceptions=True)
    outcomes |= zip(others, await asyncio.gather(*others.values()), strict=True)
    for (index, (new, _)), submitted in zip(writes.items(), await written, strict=True):
        outcomes[index] = _outcome(call, new, submitted)
    return [outcomes[index] for index in range(len(items))]


def _outcome(call: Call, new: NewTask, submitted: Submitted | BaseException) -> Outcome:
    try:
        if isinstance(submitted, BaseException):
            raise submitted
        return taken(call.services, new, submitted)
    except (Refusal, Unavailable) as error:
        return error


def _split(item: Any) -> tuple[Any, Any]:
    """Return the submission in an item and its idempotency key, None without one."""
    if type(item) is not dict or "idempotency_key" not in item:
        return item, None
    members = {name: value for name, value in item.items() if name != "idempotency_key"}
    return members, item["idempotency_key"]


async def _take(call: Call, offer: Offer) -> Outcome:
    try:
        return await take(call.services, call.tenant, call.traceparent, offer)
    except (Refusal, Unavailable) as error:
        return error


def _result(outcome: Outcome, trace_id: str | None) -> dict[str, Any]:
    if isinstance(outcome, Taken):
        status = 200 if outcome.state.terminal else 202
        return {"status": status, "task": orjson.Fragment(outcome.body), "replayed": outcome.replayed}
    refusal = outcome if isinstance(outcome, Refusal) else unavailable(str(outcome))
    return {"status": refusal.kind.value.status, "problem": refusal.members(trace_id)}


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/tasks/batch",
        submit_batch,
        methods=["POST"],
        name="submit_tasks",
        route_class_override=LargeJsonEndpoint,
        tags=["tasks"],
        summary="Submit up to 1,000 tasks",
        responses={
            200: answer(BatchAnswer, "One result for each task, in order."),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
            ),
        },
        openapi_extra={**needs(Scope.SUBMIT), **body(Batch, "Up to 8 MiB.")},
    )
