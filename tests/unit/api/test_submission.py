"""What a caller sent becomes a task, or rows that say what is wrong."""

from typing import Any

import pytest

from milepost_api.problems import Refusal
from milepost_api.submission import fingerprint_of, read_key, read_members


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
