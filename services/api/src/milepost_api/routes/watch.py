"""POST /v1/watch-tokens."""

from datetime import UTC, datetime

import orjson
from fastapi import APIRouter
from pydantic import ValidationError

from milepost.domain.feed_filter import filter_of
from milepost.domain.grant import Grant
from milepost.store.view import JSON_OPTIONS
from milepost_api.endpoint import Call, JsonEndpoint
from milepost_api.openapi import NEEDS_KEY, answer, body, problems
from milepost_api.problems import ROWS_SHOWN, Refusal, finding
from milepost_api.reply import Reply, json_reply
from milepost_api.strict_json import parse
from milepost_schemas.problem import ProblemType
from milepost_schemas.watch import WatchToken, WatchTokenRequest


async def make_token(call: Call) -> Reply:
    """Sign a token. Nobody is asked whether the task exists: tokens are renewed also while Postgres is away."""
    asked = _read(call.content)
    token, expires = call.services.auth.tokens.sign(call.tenant, _grant(asked), asked.ttl)
    return json_reply(orjson.dumps({"token": token, "expires_at": _instant(expires)}, option=JSON_OPTIONS), 201)


def _read(content: bytes) -> WatchTokenRequest:
    members = parse(content)
    try:
        return WatchTokenRequest.model_validate(members)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        rows = [finding(row["loc"], row["msg"].removeprefix("Value error, ")) for row in found[:ROWS_SHOWN]]
        raise Refusal(ProblemType.INVALID, "This does not say what may be watched. No token was made.", rows) from None


def _grant(asked: WatchTokenRequest) -> Grant:
    label = None if asked.label is None else (asked.label.name, asked.label.value)
    return Grant(task=asked.task, label=label, feed=asked.feed is not None, filter=filter_of(asked.filter))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def room(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/v1/watch-tokens",
        make_token,
        methods=["POST"],
        route_class_override=JsonEndpoint,
        tags=["watching"],
        summary="Make a watch token",
        status_code=201,
        responses={
            201: answer(WatchToken, "Give it to whoever is to watch; send it in hello, never in a URL."),
            **problems(
                ProblemType.MALFORMED,
                ProblemType.UNAUTHENTICATED,
                ProblemType.TOO_LARGE,
                ProblemType.MEDIA,
                ProblemType.INVALID,
            ),
        },
        openapi_extra={**NEEDS_KEY, **body(WatchTokenRequest, "Exactly one of task, label and feed.")},
    )
