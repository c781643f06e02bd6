"""/v1/webhooks: whom a tenant has told that tasks end, and what came of it."""

from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

import orjson
import uuid_utils.compat as uuids
from fastapi import APIRouter

from milepost.domain.webhook_url import read_url
from milepost.store.webhooks import MOST
from milepost.webhooks.rules import url_rules
from milepost.webhooks.secret import new_secret
from milepost_api.asked import path_id, read_model
from milepost_api.endpoint import Call, Endpoint, JsonEndpoint
from milepost_api.filters import LIMIT, Readers, read_limit, read_query
from milepost_api.openapi import IF_NONE_MATCH, answer, body, needs, parameter, polled, problems
from milepost_api.problems import Refusal, finding
from milepost_api.replayed_deliveries import replay
from milepost_api.reply import Reply, json_reply
from milepost_api.shown import as_json, conditional
from milepost_api.strict_json import parse
from milepost_schemas.key import Scope
from milepost_schemas.problem import ProblemType
from milepost_schemas.webhook import (
    DeliveriesReplayed,
    DeliveryReplay,
    DeliveryStanding,
    NewWebhook,
    SecretRotation,
    Webhook,
    WebhookChange,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookDeliveryPage,
    WebhookList,
    WebhookWithSecret,
)

_DEFAULT: Final = 50
_ATTEMPTS: Final = 200
_STATES: Final[tuple[str, ...]] = get_args(DeliveryStanding)
_LOG: Final = "deliveries of a webhook"
_NO_ID: Final = "This is not an id: ids are UUIDs, as the API gave them."
_NOTHING: Final = "Nothing was changed; correct it and send it again."
_INVALID: Final = f"This request is not valid. {_NOTHING}"


def _state(text: str) -> str:
    if text not in _STATES:
        raise ValueError("should be one of " + ", ".join(_STATES))
    return text


_PAGE: Final[Readers] = {"state": ("state", _state), "limit": ("limit", read_limit), "cursor": ("cursor", str)}


async def create_webhook(call: Call) -> Reply:
    """Make a webhook; its secret is shown in this answer only."""
    asked = read_model(NewWebhook, parse(call.content), _INVALID)
    secret = new_secret()
    row = await call.services.webhooks.add_webhook(
        call.tenant,
        uuids.uuid7(),
        _url(call, asked.url),
        secret,
        description=asked.description,
        types=asked.types,
        states=asked.states,
        labels=asked.labels,
    )
    if row is None:
        raise Refusal(ProblemType.QUOTA, f"A tenant may have {MOST} webhooks. None was made; delete or change one.")
    shown = {**_shown(row), "secret": secret}
    return json_reply(as_json(shown), 201, (b"location", f"/v1/webhooks/{row['id']}".encode()))


async def list_webhooks(call: Call) -> Reply:
    """Show the tenant's webhooks, the oldest first."""
    rows = await call.services.webhooks.webhooks(call.tenant)
    return _polled(call, {"items": [_shown(row) for row in rows]})


async def get_webhook(call: Call) -> Reply:
    """Show one webhook."""
    return _polled(call, _shown(await _find(call)))


async def change_webhook(call: Call) -> Reply:
    """Change a webhook: what is named, and nothing else."""
    asked = read_model(WebhookChange, parse(call.content), _INVALID)
    names = asked.model_fields_set
    url = None if asked.url is None else _url(call, asked.url)
    row = await call.services.webhooks.change_webhook(
        call.tenant,
        path_id(call, _NO_ID),
        names,
        url=url,
        description=asked.description,
        types=asked.types,
        states=asked.states,
        labels=asked.labels,
        enabled=asked.enabled is not False,
    )
    if row is None:
        raise _missing()
    return json_reply(as_json(_shown(row)))


async def delete_webhook(call: Call) -> Reply:
    """Delete a webhook and its log. What is being sent at this moment may still arrive."""
    if not await call.services.webhooks.delete_webhook(call.tenant, path_id(call, _NO_ID)):
        raise _missing()
    return Reply(204)


async def rotate_webhook_secret(call: Call) -> Reply:
    """Give a webhook a new secret, shown in this answer only; the one before signs too for a while."""
    asked = read_model(SecretRotation, parse(call.content), _INVALID)
    secret = new_secret()
    row = await call.services.webhooks.rotate_secret(call.tenant, path_id(call, _NO_ID), secret, asked.overlap)
    if row is None:
        raise _missing()
    return json_reply(as_json({**_shown(row), "secret": secret}))


async def ping_webhook(call: Call) -> Reply:
    """Have a message sent that tells of no task. Its delivery shows what came of it."""
    row = await call.services.webhooks.ping_webhook(call.tenant, path_id(call, _NO_ID))
    if row is None:
        raise _missing()
    return json_reply(as_json(_delivery(row)), 202)


async def list_webhook_deliveries(call: Call) -> Reply:
    """Show the log of a webhook, the newest first."""
    store, cursors = call.services.webhooks, call.services.cursors
    asked = read_query(call.scope["query_string"], _PAGE)
    webhook: UUID = (await _find(call))["id"]
    limit, state = asked.get("limit", _DEFAULT), asked.get("state")
    shape = (_LOG, str(webhook), state)
    before = cursors.read(call.tenant, shape, asked["cursor"]) if "cursor" in asked else None
    rows = await store.deliveries(call.tenant, webhook, state, before, limit + 1)
    page = rows[:limit]
    following = cursors.sign(call.tenant, shape, page[-1]["id"]) if len(rows) > limit else None
    return _polled(call, {"items": [_delivery(row) for row in page], "next": following})


async def get_webhook_delivery(call: Call) -> Reply:
    """Show one delivery with its attempts."""
    store = call.services.webhooks
    row = await store.delivery(call.tenant, path_id(call, _NO_ID), path_id(call, _NO_ID, "delivery"))
    if row is None:
        raise Refusal(ProblemType.NOT_FOUND, "This webhook has no delivery with this id, or its log has forgotten it.")
    attempts = await store.delivery_attempts(call.tenant, row["id"], _ATTEMPTS)
    return _polled(call, {**_delivery(row), "log": [dict(each) for each in attempts]})


async def replay_webhook_deliveries(call: Call) -> Reply:
    """Have deliveries made once more: those named, or all that match."""
    asked = read_model(DeliveryReplay, parse(call.content), _INVALID)
    webhook = (await _find(call))["id"]
    return json_reply(as_json(await replay(call, webhook, asked)))


async def _find(call: Call) -> Any:
    row = await call.services.webhooks.webhook(call.tenant, path_id(call, _NO_ID))
    if row is None:
        raise _missing()
    return row


def _missing() -> Refusal:
    return Refusal(ProblemType.NOT_FOUND, "You have no webhook with this id.")


def _url(call: Call, text: str) -> str:
    try:
        return str(read_url(text, url_rules(call.services.settings)))
    except ValueError as error:
        detail = f"Nothing can be sent to this URL. {_NOTHING}"
        raise Refusal(ProblemType.INVALID, detail, [finding(("url",), str(error))]) from None


def _shown(row: Any) -> dict[str, Any]:
    until: datetime | None = row["secret_old_until"]
    return {
        "id": row["id"],
        "url": row["url"],
        "types": row["types"],
        "states": row["states"],
        "labels": None if row["labels"] is None else orjson.Fragment(row["labels"]),
        "description": row["description"],
        "enabled": row["disabled_at"] is None,
        "disabled_at": row["disabled_at"],
        "disabled_reason": row["disabled_reason"],
        "failing_since": row["failing_since"],
        "failures": row["failures"],
        "last_error": row["last_error"],
        "secret_old_until": until,
        "created_at": row["created_at"],
    }


def _delivery(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "webhook": row["webhook_id"],
        "task": row["task_id"],
        "epoch": row["epoch"],
        "type": row["type"],
        "outcome": row["outcome"],
        "state": row["state"],
        "attempts": row["attempt"],
        "created_at": row["created_at"],
        "next_attempt_at": row["due_at"] if row["state"] == "pending" else None,
        "ended_at": row["ended_at"],
        "status": row["status"],
        "error": row["error"],
    }


def _polled(call: Call, document: dict[str, Any]) -> Reply:
    return conditional(as_json(document), call.header(b"if-none-match"))


_ID: Final = parameter("id", "path", "The webhook.", type="string", format="uuid")
_DELIVERY: Final = parameter("delivery", "path", "The delivery.", type="string", format="uuid")
_TAKES: Final = (
    ProblemType.MALFORMED,
    ProblemType.UNAUTHENTICATED,
    ProblemType.TOO_LARGE,
    ProblemType.MEDIA,
    ProblemType.INVALID,
)


def _route(
    router: APIRouter,
    method: str,
    path: str,
    handler: Any,
    scope: Scope,
    summary: str,
    responses: dict[int | str, dict[str, Any]],
    refusals: tuple[ProblemType, ...],
    *,
    takes: dict[str, Any] | None = None,
    parameters: tuple[dict[str, Any], ...] = (),
) -> None:
    router.add_api_route(
        f"/v1/webhooks{path}",
        handler,
        methods=[method],
        route_class_override=Endpoint if takes is None else JsonEndpoint,
        tags=["webhooks"],
        summary=summary,
        responses={**responses, **problems(*refusals)},
        status_code=next(int(status) for status in responses),
        openapi_extra={**needs(scope), **(takes or {}), **({"parameters": list(parameters)} if parameters else {})},
    )


def room(router: APIRouter) -> None:
    """Add the routes."""
    key, none = ProblemType.UNAUTHENTICATED, ProblemType.NOT_FOUND
    _route(
        router, "POST", "", create_webhook, Scope.ADMIN, "Make a webhook",
        {201: answer(WebhookWithSecret, "Made. The secret is not shown again.", "Location")},
        (*_TAKES, ProblemType.QUOTA),
        takes=body(NewWebhook, "Where to, and what of."),
    )  # fmt: skip
    _route(
        router, "GET", "", list_webhooks, Scope.ADMIN, "List webhooks",
        polled(WebhookList, "All of the tenant's, the oldest first."), (key,), parameters=(IF_NONE_MATCH,),
    )  # fmt: skip
    _route(
        router, "GET", "/{id}", get_webhook, Scope.ADMIN, "Get a webhook",
        polled(Webhook, "The webhook."), (key, none), parameters=(_ID, IF_NONE_MATCH),
    )  # fmt: skip
    _route(
        router, "PATCH", "/{id}", change_webhook, Scope.ADMIN, "Change a webhook",
        {200: answer(Webhook, "As it is now.")}, (*_TAKES, none),
        takes=body(WebhookChange, "What to change; `enabled: true` lets a disabled one begin anew."), parameters=(_ID,),
    )  # fmt: skip
    _route(
        router, "DELETE", "/{id}", delete_webhook, Scope.ADMIN, "Delete a webhook",
        {204: {"description": "It is gone, and its log goes."}}, (key, none), parameters=(_ID,),
    )  # fmt: skip
    _route(
        router, "POST", "/{id}/secret", rotate_webhook_secret, Scope.ADMIN, "Give a webhook a new secret",
        {200: answer(WebhookWithSecret, "The new secret is not shown again.")}, (*_TAKES, none),
        takes=body(SecretRotation, "How long the secret of before signs too."), parameters=(_ID,),
    )  # fmt: skip
    _route(
        router, "POST", "/{id}/ping", ping_webhook, Scope.OPERATE, "Send a message that tells of no task",
        {202: answer(WebhookDelivery, "Ask for it to see what came of it.")}, (key, none), parameters=(_ID,),
    )  # fmt: skip
    _route(
        router, "GET", "/{id}/deliveries", list_webhook_deliveries, Scope.READ, "List a webhook's deliveries",
        polled(WebhookDeliveryPage, "The newest first, of the last 30 days."), (key, none, ProblemType.INVALID),
        parameters=(
            _ID,
            parameter("state", "query", "Only these.", type="string", enum=list(_STATES)),
            parameter("limit", "query", "So many on a page.", type="integer", minimum=1, maximum=LIMIT),
            parameter("cursor", "query", "`next` of the page before, with the same parameters."),
            IF_NONE_MATCH,
        ),
    )  # fmt: skip
    _route(
        router, "GET", "/{id}/deliveries/{delivery}", get_webhook_delivery, Scope.READ, "Get a delivery",
        polled(WebhookDeliveryDetail, "With its attempts."), (key, none), parameters=(_ID, _DELIVERY, IF_NONE_MATCH),
    )  # fmt: skip
    _route(
        router, "POST", "/{id}/replay", replay_webhook_deliveries, Scope.OPERATE, "Have deliveries made once more",
        {200: answer(DeliveriesReplayed, "Those that are pending again.")}, (*_TAKES, none),
        takes=body(DeliveryReplay, "Which."), parameters=(_ID,),
    )  # fmt: skip
