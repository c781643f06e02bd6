"""Write the JSON Schemas and asyncapi.yaml, or with --check see whether they are current.

    python -m milepost_schemas [--check] FOLDER

For whoever changes a contract: it needs PyYAML, which the package itself does without.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from milepost_schemas import (
    Attempt,
    Completion,
    DeadLetterDetail,
    DeadLetterGroup,
    Dispatch,
    Event,
    Problem,
    Replayed,
    ReplayRequest,
    SubmitTask,
    Task,
    TypeInfo,
    WorkerInfo,
)
from milepost_schemas.asyncapi import describe
from milepost_schemas.control import CancelRequest
from milepost_schemas.frames import CLIENT_FRAME, SERVER_FRAME
from milepost_schemas.key import Key, KeyRequest, NewKey
from milepost_schemas.queue import EventList, Explanation, Limit, LimitRequest, Queue, Retention, RetentionRequest
from milepost_schemas.tenant import OwnQuotas, QuotasRequest, Tenant
from milepost_schemas.watch import AcceptedTask, Ticket, TicketRequest, WatchToken, WatchTokenRequest
from milepost_schemas.webhook import (
    DeliveriesReplayed,
    DeliveryReplay,
    NewWebhook,
    PingWebhook,
    SecretRotation,
    TaskWebhook,
    Webhook,
    WebhookChange,
    WebhookDeliveryDetail,
    WebhookWithSecret,
)

MODELS: dict[str, TypeAdapter[Any]] = {
    "task": TypeAdapter(Task),
    "accepted-task": TypeAdapter(AcceptedTask),
    "submit-task": TypeAdapter(SubmitTask),
    "watch-token-request": TypeAdapter(WatchTokenRequest),
    "watch-token": TypeAdapter(WatchToken),
    "ticket-request": TypeAdapter(TicketRequest),
    "ticket": TypeAdapter(Ticket),
    "attempt": TypeAdapter(Attempt),
    "dead-letter": TypeAdapter(DeadLetterDetail),
    "dead-letter-group": TypeAdapter(DeadLetterGroup),
    "replay-request": TypeAdapter(ReplayRequest),
    "replayed": TypeAdapter(Replayed),
    "key-request": TypeAdapter(KeyRequest),
    "key": TypeAdapter(Key),
    "new-key": TypeAdapter(NewKey),
    "quotas-request": TypeAdapter(QuotasRequest),
    "tenant": TypeAdapter(Tenant),
    "own-quotas": TypeAdapter(OwnQuotas),
    "limit-request": TypeAdapter(LimitRequest),
    "limit": TypeAdapter(Limit),
    "queue": TypeAdapter(Queue),
    "retention": TypeAdapter(Retention),
    "retention-request": TypeAdapter(RetentionRequest),
    "explanation": TypeAdapter(Explanation),
    "event-list": TypeAdapter(EventList),
    "problem": TypeAdapter(Problem),
    "type": TypeAdapter(TypeInfo),
    "worker": TypeAdapter(WorkerInfo),
    "dispatch": TypeAdapter(Dispatch),
    "event": TypeAdapter(Event),
    "completion": TypeAdapter(Completion),
    "cancel-request": TypeAdapter(CancelRequest),
    "webhook": TypeAdapter(Webhook),
    "webhook-with-secret": TypeAdapter(WebhookWithSecret),
    "new-webhook": TypeAdapter(NewWebhook),
    "webhook-change": TypeAdapter(WebhookChange),
    "secret-rotation": TypeAdapter(SecretRotation),
    "webhook-delivery": TypeAdapter(WebhookDeliveryDetail),
    "delivery-replay": TypeAdapter(DeliveryReplay),
    "deliveries-replayed": TypeAdapter(DeliveriesReplayed),
    "webhook-message": TypeAdapter(TaskWebhook | PingWebhook),
    "client-frame": CLIENT_FRAME,
    "server-frame": SERVER_FRAME,
}

ASKED = {
    "submit-task",
    "watch-token-request",
    "ticket-request",
    "replay-request",
    "key-request",
    "quotas-request",
    "limit-request",
    "client-frame",
    "new-webhook",
    "webhook-change",
    "secret-rotation",
    "delivery-replay",
}
"""What is sent to us."""
ASYNCAPI = "asyncapi.yaml"


def published() -> dict[str, str]:
    """Return file name → text of everything that is published of this package."""
    texts = {ASYNCAPI: yaml.safe_dump(describe(), sort_keys=False, allow_unicode=True, width=120)}
    for name, adapter in MODELS.items():
        mode: Any = "validation" if name in ASKED else "serialization"
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"https://milepost.dev/schemas/{name}.v1.json",
            **adapter.json_schema(mode=mode),
        }
        texts[f"{name}.v1.json"] = json.dumps(schema, indent=2, sort_keys=True) + "\n"
    return texts


def stale(folder: Path) -> list[str]:
    """Return names of files in `folder` that are missing, differ from the models, or belong to none of them."""
    texts = published()
    found = {path.name: path.read_text() for path in (*folder.glob("*.v1.json"), *folder.glob("*.yaml"))}
    return sorted(name for name in texts | found if texts.get(name) != found.get(name))


def main() -> None:
    """Write everything into the folder named, or with --check say which differ and exit with 1."""
    check = "--check" in sys.argv
    folder = Path(next((word for word in sys.argv[1:] if word != "--check"), "schemas/published"))
    if check:
        if names := stale(folder):
            sys.exit(f"These are not what the models say: {', '.join(names)}. Run `make schemas`.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in published().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
