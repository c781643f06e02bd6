"""What a caller sent becomes a task, or rows that say what is wrong."""

from typing import Any
from uuid import UUID

import pytest

from milepost_api.problems import Refusal
from milepost_api.submission import fingerprint_of, new_task, read_key, read_members
from milepost_schemas import TypeInfo


def test_the_payload_stays_what_was_sent() -> None:
    payload = {"deep": [{"er": 1.0}]}
    asked, kept = read_members({"type": "a.b", "payload": payload, "delay": 2})
    assert (asked.type, asked.delay) == ("a.b", 2.0)
    assert kept is payload


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a\n", "é", "a" * 101, "../x", 5, None])
def test_names_are_safe_in_topics_and_urls(name: Any) -> None:
    with pytest.raises(Refusal):
        read_members({"type": "a", "queue": name} if name is not None else {"type": name})


def test_all_findings_come_at_once() -> None:
    with pytest.raises(Refusal) as refusal:
        read_members({"payload": [], "max_attempts": 0, "labels": {"a": "\n"}, "nope": 1})
    assert refusal.value.rows is not None
    paths = [row["path"] for row in refusal.value.rows]
    assert paths == ["/payload", "/type", "/max_attempts", "/labels/a", "/nope"]


def test_a_fingerprint_does_not_depend_on_the_order_of_members() -> None:
    assert fingerprint_of({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": "1"})


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "\x7f", "ü", 7, [], True])
def test_a_key_is_printable_ascii(key: Any) -> None:
    with pytest.raises(Refusal):
        read_key(key)
    assert read_key("x" * 255) == "x" * 255


@pytest.mark.parametrize(("said", "stored"), [({"total_timeout": 30}, 30), ({}, 90)])
def test_the_total_time_is_the_callers_or_else_the_types(said: dict[str, Any], stored: float) -> None:
    asked, payload = read_members({"type": "a", **said})
    info = TypeInfo(type="a", queue="q", max_attempts=1, total_timeout=90)
    made = new_task(UUID(int=1), "default", asked, payload, info, root=None, traceparent="", key=None, fingerprint=None)
    assert made.total_timeout_s == stored


def test_a_task_that_would_expire_before_it_may_start_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        read_members({"type": "a", "delay": 60, "expires_in": 60})
    assert refusal.value.rows is not None
    assert "could never start" in str(refusal.value.rows)
