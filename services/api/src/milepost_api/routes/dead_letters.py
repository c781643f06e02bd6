"""/v1/dead-letters: what failed for good, in groups, one by one, and tried again."""

import base64
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter

from milepost.store.deadletters import COUNTED
from milepost_api.asked import path_fingerprint
from milepost_api.endpoint import Call, Endpoint, JsonEndpoint
from milepost_api.filters import LIMIT, Readers, read_limit, read_name, read_query
from milepost_api.openapi import IF_NONE_MATCH, answer, body, needs, parameter, polled, problems
from milepost_api.problems import Refusal
from milepost_api.replaying import read_request, replay_records, replay_tasks
from milepost_api.reply import Reply, json_reply
from milepost_api.routes.attempts import attempts_of
from milepost_api.routes.tasks import task_id
from milepost_api.shown import as_json, conditional, row_bytes
from milepost_api.strict_json import parse
from milepost_schemas import DeadLetterDetail, DeadLetterGroups, DeadLetterPage, Replayed, ReplayRequest
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType

_DEFAULT: Final = 50
_KINDS: Final = ("task", "record")
_GROUPS: Final = "dead-letter groups"
_MEMBERS: Final = "dead letters of a group"


def _kind(text: str) -> str:
    if text not in _KINDS:
        raise ValueError("should be task or record")
    return text


_PAGE: Final[Readers] = {"kind": ("kind", _kind), "limit": ("limit", read_limit), "cursor": ("cursor", str)}
_OF_GROUPS: Final[Readers] = {**_PAGE, "type": ("type", read_name)}


async def list_groups(call: Call) -> Reply:
    """Show groups of dead letters: those of tasks, then those of records."""
    store, cursors = call.services.dead_letters, call.services.cursors
    asked = read_query(call.scope["query_string"], _OF_GROUPS)
    limit, type_, only = asked.get("limit", _DEFAULT), asked.get("type"), asked.get("kind")
    shape = (_GROUPS, only, type_)
    kind, after = _KINDS[0], ""
    if "cursor" in asked:
        kind, after = _place(cursors.read(call.tenant, shape, asked["cursor"]))
    items: list[dict[str, Any]] = []
    if kind == "task" and only != "record":
        items = [_task_group(row) for row in await store.failed_groups(call.tenant, after, limit + 1, type_)]
    if len(items) <= limit and only != "task":
        since = after if kind == "record" else ""
        left = limit + 1 - len(items)
        rows = await store.record_groups(call.tenant, since, left, type_, operator=call.principal.oversees)
        items += [_record_group(row) for row in rows]
    page = items[:limit]
    following = None
    if len(items) > limit:
        following = cursors.sign(call.tenant, shape, _mark(page[-1]["kind"], page[-1]["fingerprint"]))
    return _json(call, {"items": page, "next": following})


async def list_members(call: Call) -> Reply:
    """Show the dead letters of one group, the newest first."""
    store, cursors = call.services.dead_letters, call.services.cursors
    asked = read_query(call.scope["query_string"], _PAGE)
    fingerprint = path_fingerprint(call)
    limit, kind = asked.get("limit", _DEFAULT), asked.get("kind", "task")
    shape = (_MEMBERS, fingerprint, kind)
    before = cursors.read(call.tenant, shape, asked["cursor"]) if "cursor" in asked else None
    if kind == "task":
        rows = await store.failed_members(call.tenant, fingerprint, before, limit + 1)
    else:
        rows = await store.record_members(call.tenant, fingerprint, before, limit + 1, operator=call.principal.oversees)
    show = _task_letter if kind == "task" else _record_letter
    page = rows[:limit]
    following = cursors.sign(call.tenant, shape, page[-1]["id"]) if len(rows) > limit else None
    return _json(call, {"items": [show(row) for row in page], "next": following})


async def show(call: Call) -> Reply:
    """Show one dead letter: a failed task with its attempts, or a record with what it holds."""
    services = call.services
    id_ = task_id(call)
    row = await services.dead_letters.failed_task(call.tenant, id_)
    if row is not None:
        task = orjson.Fragment(row_bytes(row, services.settings))
        return _json(call, {**_task_letter(row), "task": task, "attempts": await attempts_of(call, id_)})
    record = await services.dead_letters.record(call.tenant, id_, operator=call.principal.oversees)
    if record is None:
        detail = "You have no dead letter with this id. A task that was retried is none any more: look at the task."
        raise Refusal(ProblemType.NOT_FOUND, detail)
    return _json(call, {**_record_letter(record), "record": _content(record)})


async def replay(call: Call) -> Reply:
    """Try dead letters again: one, some, or all that match, at a pace; or only say which it would be."""
    asked = read_request(parse(call.content))
    if asked.kind == "record":
        if not call.principal.oversees:
            detail = (
                "Records belong to the installation, not to a tenant: only a key of its own tenant with the scope "
                "admin replays them. Nothing was done."
            )
            raise Refusal(ProblemType.FORBIDDEN, detail)
        done = await replay_records(call, asked)
    else:
        done = await replay_tasks(call, asked)
    return json_reply(done.model_dump_json().encode())


def _mark(kind: str, fingerprint: str) -> UUID:
    """Return a place in the list of groups, as what a cursor carries."""
    return UUID(bytes=bytes([_KINDS.index(kind)]) * 8 + bytes.fromhex(fingerprint))


def _place(mark: UUID) -> tuple[str, str]:
    return _KINDS[mark.bytes[0]], mark.bytes[8:].hex()


def _json(call: Call, document: dict[str, Any]) -> Reply:
    return conditional(as_json(document), call.header(b"if-none-match"))


def _task_group(row: Any) -> dict[str, Any]:
    return {"kind": "task", "type": row["type"], "error": _task_error(row), **_counted(row)}


def _record_group(row: Any) -> dict[str, Any]:
    return {"kind": "record", "type": row["topic"], "error": _record_error(row), **_counted(row)}


def _counted(row: Any) -> dict[str, Any]:
    names = ("fingerprint", "count", "newest", "newest_at", "oldest", "oldest_at")
    return {name: row[name] for name in names} | {"count_is_minimum": row["count"] >= COUNTED}


def _task_error(row: Any) -> Any:
    if row["error"] is None:
        return {"type": "Unknown", "message": "The task failed without saying why."}
    return orjson.Fragment(row["error"])


def _record_error(row: Any) -> dict[str, Any]:
    return {"type": "Undecodable", "message": row["error"], "retryable": False}


def _task_letter(row: Any) -> dict[str, Any]:
    return {
        "kind": "task",
        "id": row["id"],
        "type": row["type"],
        "fingerprint": row["fingerprint"],
        "error": _task_error(row),
        "at": row["finished_at"],
        "attempt": row["attempt"],
    }


def _record_letter(row: Any) -> dict[str, Any]:
    return {
        "kind": "record",
        "id": row["id"],
        "type": row["topic"],
        "fingerprint": row["fingerprint"],
        "error": _record_error(row),
        "at": row["put_aside_at"],
        "origin": {"topic": row["topic"], "partition": row["partition"], "offset": row["offset"]},
        "replayed_at": row["replayed_at"],
    }


def _content(row: Any) -> dict[str, Any]:
    return {
        "key": None if row["key"] is None else base64.b64encode(row["key"]).decode(),
        "value": None if row["value"] is None else base64.b64encode(row["value"]).decode(),
        "size": row["size"],
        "cut": row["cut"],
        "headers": [{"name": name, "value": value} for name, value in orjson.loads(row["headers"])],
    }


_KIND: Final = parameter("kind", "query", "Only these.", type="string", enum=list(_KINDS))
_LIMIT: Final = parameter("limit", "query", "So many on a page.", type="integer", minimum=1, maximum=LIMIT)
_CURSOR: Final = parameter("cursor", "query", "`next` of the page before, with the same parameters.")


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/dead-letters",
        list_groups,
        methods=["GET"],
        name="list_dead_letter_groups",
        route_class_override=Endpoint,
        tags=["dead letters"],
        summary="List groups of dead letters",
        responses={
            **polled(DeadLetterGroups, f"By fingerprint; counted up to {COUNTED:,}."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.INVALID),
        },
        openapi_extra={
            **needs(Scope.READ),
            "parameters": [
                _KIND,
                parameter("type", "query", "Only this type of task, or topic."),
                _LIMIT,
                _CURSOR,
                IF_NONE_MATCH,
            ],
        },
    )
    router.add_api_route(
        "/v1/dead-letters/groups/{fingerprint}",
        list_members,
        methods=["GET"],
        name="list_dead_letters",
        route_class_override=Endpoint,
        tags=["dead letters"],
        summary="List a group's dead letters",
        responses={
            **polled(DeadLetterPage, "The newest first; an empty list for a group that is not (or no longer) there."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.INVALID),
        },
        openapi_extra={
            **needs(Scope.READ),
            "parameters": [parameter("fingerprint", "path", "The group."), _KIND, _LIMIT, _CURSOR, IF_NONE_MATCH],
        },
    )
    router.add_api_route(
        "/v1/dead-letters/replay",
        replay,
        methods=["POST"],
        name="replay_dead_letters",
        route_class_override=JsonEndpoint,
        tags=["dead letters"],
        summary="Replay dead letters",
        responses={
            200: answer(Replayed, "What was (or in a dry run would be) tried again. `more`: repeat it with `replay`."),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.FORBIDDEN,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
                ProblemType.QUOTA,
            ),
        },
        openapi_extra={**needs(Scope.OPERATE), **body(ReplayRequest, "At least one of the members that say which.")},
    )
    router.add_api_route(
        "/v1/dead-letters/{id}",
        show,
        methods=["GET"],
        name="get_dead_letter",
        route_class_override=Endpoint,
        tags=["dead letters"],
        summary="Get a dead letter",
        responses={
            **polled(DeadLetterDetail, "With attempts, or with the record's content."),
            **problems(ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND),
        },
        openapi_extra={
            **needs(Scope.READ),
            "parameters": [
                parameter("id", "path", "Of a failed task or of a record.", type="string", format="uuid"),
                IF_NONE_MATCH,
            ],
        },
    )
