"""The description at /v1/openapi.json. Handlers take bytes, so routes say here what those bytes are."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from milepost_api import told
from milepost_api.contracts import Batch, BatchAnswer, Liveness, Readiness, TypeList, WorkerList
from milepost_schemas import (
    AttemptList,
    DeadLetterDetail,
    DeadLetterGroups,
    DeadLetterPage,
    Problem,
    Replayed,
    ReplayRequest,
    SubmitTask,
    Task,
    TaskPage,
)
from milepost_schemas.key import Key, KeyPage, KeyRequest, NewKey, Scope
from milepost_schemas.problem import MEDIA_TYPE, ProblemType
from milepost_schemas.queue import (
    Bounds,
    EventList,
    Explanation,
    Limit,
    LimitList,
    LimitRequest,
    QueueList,
    Retention,
    RetentionRequest,
)
from milepost_schemas.tenant import OwnQuotas, QuotasRequest, Tenant, TenantPage
from milepost_schemas.watch import AcceptedTask, Ticket, TicketRequest, WatchToken, WatchTokenRequest
from milepost_schemas.webhook import (
    DeliveriesReplayed,
    DeliveryReplay,
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

_TEMPLATE: Final = "#/components/schemas/{model}"
_TAKEN: Final[tuple[type[BaseModel], ...]] = (
    SubmitTask, Batch, ReplayRequest, WatchTokenRequest, TicketRequest, KeyRequest, QuotasRequest,
    Bounds, LimitRequest, RetentionRequest, NewWebhook, WebhookChange, SecretRotation, DeliveryReplay,
)  # fmt: skip
_GIVEN: Final[tuple[type[BaseModel], ...]] = (
    Task, AcceptedTask, TaskPage, AttemptList, BatchAnswer, DeadLetterGroups, DeadLetterPage, DeadLetterDetail,
    Replayed, WatchToken, Ticket, Key, NewKey, KeyPage, Tenant, TenantPage, OwnQuotas, TypeList, WorkerList, Readiness,
    Liveness, Problem,
    Webhook, WebhookWithSecret, WebhookList, WebhookDelivery, WebhookDeliveryPage, WebhookDeliveryDetail,
    DeliveriesReplayed, QueueList, Limit, LimitList, Retention, Explanation, EventList,
)  # fmt: skip
_KEY: Final = "key"

JsonObject = dict[str, Any]


def body(model: type[BaseModel], description: str) -> JsonObject:
    """Describe a request's body."""
    content = {"application/json": {"schema": ref(model)}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def answer(model: type[BaseModel] | None, description: str, *headers: str) -> JsonObject:
    """Describe a response with JSON (None: any JSON)."""
    schema = {} if model is None else ref(model)
    described: JsonObject = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        described["headers"] = _header(*headers)
    return described


def _header(*names: str) -> JsonObject:
    return {name: {"schema": {"type": "string"}} for name in names}


def problems(*kinds: ProblemType) -> dict[int | str, JsonObject]:
    """Describe refusals, and those that every route can answer with.

    Where a key is needed one may come that is not enough, or too often.
    """
    described: dict[int | str, JsonObject] = {}
    small = [ProblemType.FORBIDDEN, ProblemType.TOO_MANY] if ProblemType.UNAUTHENTICATED in kinds else []
    for kind in dict.fromkeys((*kinds, *small, ProblemType.INTERNAL, ProblemType.UNAVAILABLE)):
        row = kind.value
        line = f"`{kind.uri}`: {row.title}."
        known = described.get(row.status)
        described[row.status] = {
            "description": line if known is None else f"{known['description']}\n\n{line}",
            "content": {MEDIA_TYPE: {"schema": ref(Problem)}},
        }
    return described


def parameter(name: str, where: str, description: str, **schema: Any) -> JsonObject:
    """Describe a parameter; those in the path are required."""
    described: JsonObject = {"name": name, "in": where, "description": description, "required": where == "path"}
    return described | {"schema": schema or {"type": "string"}}


def ref(model: type[BaseModel]) -> JsonObject:
    """Point to a model's schema."""
    return {"$ref": _TEMPLATE.format(model=model.__name__)}


def polled(model: type[BaseModel] | None, description: str) -> dict[int | str, JsonObject]:
    """Describe what a route answers that gives an ETag: callers that have it already are told so, and no more."""
    return {
        200: answer(model, description, "ETag"),
        304: {"description": "Nothing changed since the ETag in If-None-Match.", "headers": _header("ETag")},
    }


TASK_ID: Final = parameter("id", "path", "The task.", type="string", format="uuid")
IF_NONE_MATCH: Final = parameter("If-None-Match", "header", "ETags of before.")


def needs(scope: Scope) -> JsonObject:
    """Say which scope a route needs: to readers of the description, and to the Endpoint, which asks for it."""
    return {"security": [{_KEY: [scope]}]}


def needed(openapi_extra: JsonObject | None) -> Scope | None:
    """Return what `needs` said; None if nothing did."""
    for requirement in (openapi_extra or {}).get("security", ()):
        [scope] = requirement[_KEY]
        return Scope(scope)
    return None


def describe(app: FastAPI) -> JsonObject:
    """Return the OpenAPI document of the whole service, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [
            *((model, "validation") for model in _TAKEN),
            *((model, "serialization") for model in (*_GIVEN, *told.MESSAGES)),
        ]
        _, schemas = models_json_schema(asked, ref_template=_TEMPLATE)
        document["webhooks"] = told.described(ref)
        components = document.setdefault("components", {})
        components["schemas"] = schemas["$defs"]
        components["securitySchemes"] = {
            _KEY: {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key. What a route asks for beside it is a scope that the key must have.",
            }
        }
        app.openapi_schema = document
    return app.openapi_schema
