"""The part of the OpenAPI document about what is sent to receivers of webhooks."""

from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel

from milepost_schemas.webhook import PingWebhook, TaskWebhook

JsonObject = dict[str, Any]

MESSAGES: Final[tuple[type[BaseModel], ...]] = (TaskWebhook, PingWebhook)
_HEADERS: Final = {
    "webhook-id": "The same for every copy of the message: keep it.",
    "webhook-timestamp": "Seconds since 1970 when it was signed. Refuse what is older than some minutes.",
    "webhook-signature": "`v1,` and the signature, one for each secret that is in use, with spaces between.",
}


def described(ref: Callable[[type[BaseModel]], JsonObject]) -> JsonObject:
    """Return `webhooks` of the document: operations that receivers offer and Milepost calls (standardwebhooks.com)."""
    return {
        "taskEnded": _message(ref(TaskWebhook), "tell_task_ended", "A task ended", TaskWebhook),
        "ping": _message(ref(PingWebhook), "ping_receiver", "Somebody tries the webhook", PingWebhook),
    }


def _message(schema: JsonObject, operation: str, summary: str, model: type[BaseModel]) -> JsonObject:
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "description": (model.__doc__ or "").partition("\n")[0],
            "tags": ["webhooks"],
            "parameters": [
                {"name": name, "in": "header", "required": True, "description": words, "schema": {"type": "string"}}
                for name, words in _HEADERS.items()
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {"2XX": {"description": "Taken. Anything else, redirects too, is tried again later."}},
        }
    }
