"""JSON that two readers could understand differently is refused; all other JSON is read as it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost_api.problems import Refusal
from milepost_api.strict_json import DEPTH, parse
from milepost_schemas.problem import ProblemType

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
WHOLE = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False, width=32) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30)


@given(VALUES, st.booleans())
def test_what_any_writer_of_json_wrote_is_read_back(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.dictionaries(TEXT, SCALARS, min_size=1), st.data())
def test_a_member_named_twice_is_found_wherever_it_is(members: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    rows = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members.items()]
    rows.insert(data.draw(st.integers(0, len(rows))), f"{json.dumps(name)}: 1")
    text = '{"a:b": [{"c": "::"}, {' + ", ".join(rows) + "}]}"
    with pytest.raises(Refusal, match="twice"):
        parse(text.encode())


def test_depth_is_counted_in_objects_and_lists() -> None:
    assert parse(b"[" * DEPTH + b"]" * DEPTH)
    for body in (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1)):
        with pytest.raises(Refusal) as refusal:
            parse(body)
        assert refusal.value.kind is ProblemType.INVALID


def test_large_numbers_with_a_fraction_or_an_exponent_are_numbers_like_any_other() -> None:
    assert parse(b"[1e300, -1e21, 0.1, 18446744073709551615, -9223372036854775808]")
    for digits in (b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 30, b"9" * 300):
        with pytest.raises(Refusal, match="does not take it"):
            parse(b'{"a": [1.5, ' + digits + b"]}")


def test_the_message_of_malformed_json_says_where_and_does_not_echo() -> None:
    with pytest.raises(Refusal, match="line 2 column") as refusal:
        parse(b'{"a": 1,\n hunter2}')
    assert refusal.value.kind is ProblemType.MALFORMED
    assert "hunter2" not in refusal.value.detail
