"""What a receiver gets: a body, and the headers that Standard Webhooks 1.0 asks for."""

from datetime import datetime
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import orjson
from standardwebhooks import Webhook

from milepost.announce import completion_body
from milepost.store.view import JSON_OPTIONS, inline_result
from milepost.store.webhooks import Delivery

_AGENT: Final = f"Milepost-Webhooks/{version('milepost')}"


class Message(NamedTuple):
    """A request to a receiver."""

    headers: dict[str, str]
    body: bytes


def make_message(delivery: Delivery, now: datetime) -> Message:
    """Return what is sent for a delivery at an instant: the same body each time, signed anew.

    Its id is that of the completion on Kafka, so that whoever gets both can tell that they are one.
    """
    if delivery.row is None:
        identity, kind, at, data = f"ping:{delivery.id}", "ping", delivery.noted_at, {"webhook": delivery.webhook_id}
    else:
        row = delivery.row
        identity = f"{row['id']}:{row['epoch']}"
        kind, at, data = f"task.{row['state']}", row["finished_at"], _completion(row)
    body = orjson.dumps({"type": kind, "timestamp": at, "data": data}, option=JSON_OPTIONS)
    text = body.decode()
    signatures = [Webhook(secret).sign(identity, now, text) for secret in delivery.secrets]
    headers = {
        "content-type": "application/json",
        "user-agent": _AGENT,
        "webhook-id": identity,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return Message(headers, body)


def _completion(row: Any) -> dict[str, Any]:
    view = {**row, "labels": _fragment(row["labels"]), "error": _fragment(row["error"])}
    view["result"] = _fragment(inline_result(row["result"]))
    return completion_body(str(row["id"]), row["tenant"], row["root_id"], view)


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)
