"""What a receiver gets, held against the example of the specification and its own library."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from standardwebhooks import Webhook

from milepost.store.webhooks import Delivery
from milepost.webhooks.message import make_message
from milepost.webhooks.secret import new_secret
from milepost_schemas.webhook import PingWebhook, TaskWebhook

NOW = datetime(2026, 1, 1, 12, 0, 3, 999_999, tzinfo=UTC)
TASK = UUID("0198b2f3-6c1e-7d4a-9f0b-2a61c5d3e8f7")
ROW: dict[str, Any] = {
    "id": TASK,
    "tenant": "default",
    "type": "t.x",
    "queue": "default",
    "root_id": TASK,
    "labels": '{"a": "b"}',
    "created_at": NOW,
    "epoch": 3,
    "state": "failed",
    "attempt": 2,
    "result": None,
    "error": '{"type": "X", "message": "\\u00e9", "retryable": true}',
    "started_at": None,
    "finished_at": NOW,
}


def _delivery(row: dict[str, Any] | None, *secrets: str) -> Delivery:
    return Delivery(
        UUID(int=1), UUID(int=2), 1, 1, 0.0, "https://example.com/", secrets or (new_secret(),), NOW, row is None, row
    )


def test_the_signature_is_the_one_of_the_specification() -> None:
    # Of the specification's own libraries' tests: this secret, id, instant and body give this signature.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    signature = Webhook(secret).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_end_is_a_message_of_the_published_schema() -> None:
    message = make_message(_delivery(ROW), NOW)
    told = TaskWebhook.model_validate_json(message.body)
    assert (told.type, told.timestamp, told.data.epoch) == ("task.failed", NOW, 3)
    assert message.headers["webhook-id"] == told.data.id
    assert message.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert "started_at" not in orjson.loads(message.body)["data"]


def test_a_ping_is_a_message_of_the_published_schema() -> None:
    message = make_message(_delivery(None), NOW)
    assert PingWebhook.model_validate_json(message.body).data.webhook == UUID(int=2)
    assert message.headers["webhook-id"] == f"ping:{UUID(int=1)}"


def test_each_secret_signs() -> None:
    one, two = new_secret(), new_secret()
    assert one != two
    message = make_message(_delivery(ROW, one, two), datetime.now(UTC))
    for secret in (one, two):
        Webhook(secret).verify(message.body, message.headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent"])
def test_headers_are_one_line_of_ascii_without_a_full_stop_where_one_would_confuse(name: str) -> None:
    value = make_message(_delivery(ROW), NOW).headers[name]
    assert value.isascii()
    assert value.isprintable()
    if name in {"webhook-id", "webhook-timestamp"}:
        assert "." not in value
