"""What looks for secrets in logs finds them, and says where without saying them again."""

import secrets

import pytest
from uuid_utils.compat import uuid7

from milepost.domain.grant import Grant
from milepost.runtime.keys import new_secret
from milepost.runtime.tokens import Tokens
from tests.secrets import found_in

TOKEN = Tokens([b"x" * 32]).sign("default", Grant(task=uuid7()), 60)[0]


@pytest.mark.parametrize(
    "said",
    [
        new_secret().key,
        TOKEN,
        f"GET /v1/stream?ticket={secrets.token_urlsafe(24)}",
        "postgresql://milepost:hunter2@127.0.0.1/milepost",
        "redis://:hunter2@127.0.0.1:6379/0",
        "Authorization: Bearer something-else",
        "a known one: hunter2-and-more",
    ],
)
def test_secrets_are_found(said: str) -> None:
    found = found_in(f'{{"message": "before {said} after"}}', {"hunter2-and-more"})
    assert found
    assert not any(said in row for row in found)


def test_nothing_else_is_found() -> None:
    assert not found_in('{"url": "http://127.0.0.1:8000", "task": "demo.count", "kafka": "127.0.0.1:9092"} Bearer')
