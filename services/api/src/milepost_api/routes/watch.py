"""POST /v1/watch-tokens and /v1/tickets: what pages watch with."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter

from milepost.domain.feed_filter import filter_of
from milepost.domain.grant import Grant
from milepost.runtime.auth import lasting
from milepost.runtime.tokens import NoSecret
from milepost_api.asked import read_model
from milepost_api.body import read_json_body
from milepost_api.endpoint import MIB, Call, JsonEndpoint, WatchEndpoint
from milepost_api.openapi import answer, body, needs, problems
from milepost_api.problems import Refusal, unavailable
from milepost_api.reply import Reply, json_reply
from milepost_api.shown import as_json
from milepost_api.strict_json import parse
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.watch import TTL_DEFAULT, TTL_MAX, Ticket, TicketRequest, WatchToken, WatchTokenRequest

_INVALID: Final = "This does not say what may be watched. Nothing was made."
_PROBLEMS: Final = problems(
    ProblemType.MALFORMED, ProblemType.UNAUTHENTICATED, ProblemType.TOO_LARGE, ProblemType.MEDIA, ProblemType.INVALID
)


async def make_token(call: Call) -> Reply:
    """Sign a token. Nobody is asked whether the task exists: tokens are renewed also while Postgres is away."""
    asked = read_model(WatchTokenRequest, parse(call.content), _INVALID)
    try:
        token, expires = call.services.auth.token(call.principal, _grant(asked), asked.ttl)
    except NoSecret as error:
        raise unavailable(str(error)) from None
    return _made({"token": token}, expires)


async def make_ticket(call: Call) -> Reply:
    """Make a ticket. Who holds a watch token gets one for the same, which opens nothing for longer."""
    asked = read_model(TicketRequest, await _members(call), _INVALID)
    principal = call.principal
    if not principal.only_watches:
        grant = _grant(asked)
    elif asked.named or asked.ttl is not None:
        raise Refusal(
            ProblemType.FORBIDDEN, "A watch token gets a ticket for what it covers itself. Send an empty body."
        )
    else:
        grant = principal.grant
    ttl = lasting(principal, asked.ttl or (TTL_MAX if principal.only_watches else TTL_DEFAULT))
    try:
        ticket, expires = await call.services.tickets.issue(call.tenant, grant, ttl, principal.key)
    except NoSecret as error:
        raise unavailable(str(error)) from None
    return _made({"ticket": ticket}, expires)


async def _members(call: Call) -> Any:
    """Return what the body says; an empty one, which needs no media type, names nothing."""
    empty = call.header(b"content-length") in {None, "0"} and call.header(b"transfer-encoding") is None
    return {} if empty else parse(await read_json_body(call.scope, call.receive, MIB))


def _grant(asked: WatchTokenRequest | TicketRequest) -> Grant:
    label = None if asked.label is None else (asked.label.name, asked.label.value)
    return Grant(task=asked.task, label=label, feed=asked.feed is not None, filter=filter_of(asked.filter))


def _made(members: dict[str, str], expires: float) -> Reply:
    until = datetime.fromtimestamp(int(expires), UTC)
    return json_reply(as_json({**members, "expires_at": until}), 201)


def room(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/v1/watch-tokens",
        make_token,
        methods=["POST"],
        name="make_watch_token",
        route_class_override=JsonEndpoint,
        tags=["watching"],
        summary="Make a watch token",
        status_code=201,
        responses={
            201: answer(WatchToken, "Give it to whoever is to watch; send it in hello, never in a URL."),
            **_PROBLEMS,
        },
        openapi_extra={**needs(Scope.READ), **body(WatchTokenRequest, "Exactly one of task, label and feed.")},
    )
    router.add_api_route(
        "/v1/tickets",
        make_ticket,
        methods=["POST"],
        route_class_override=WatchEndpoint,
        tags=["watching"],
        summary="Make a ticket",
        status_code=201,
        responses={
            201: answer(Ticket, "Append it to the URL of a stream as `?ticket=`, once and within 30 seconds."),
            **_PROBLEMS,
        },
        openapi_extra={**needs(Scope.READ), **body(TicketRequest, "May be empty; with a watch token it has to be.")},
    )
