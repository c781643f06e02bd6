"""What makes two failures the same failure."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.failures import fingerprint, normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("row 17 is broken", "row 918 is broken"),
        ("took 0.25 s of 3 s", "took 1e-3 s of 30.5 s"),
        ("no such task 01941f29-7c00-7d3e-8a5b-0242ac120002", "no such task 01941F29-0000-7D3E-8A5B-0242AC120003"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit 4854902"),
        ("cannot open /var/data/a.png: gone", "cannot open /srv/b/c.png: gone"),
        ("cannot open 'C:\\\\data\\\\a.png'", "cannot open 'D:\\\\b.png'"),
        ("GET https://a.example/x?y=1 answered 503", "GET http://b.example:8080/ answered 502"),
        ("object at 0x7f00deadbeef", "object at 0x1"),
        ("order-17 of key sk_live_4eC39HqLyjWDar", "order-4 of key sk_live_9aC39HqLyjWDbb1"),
        ("two  words\n here", "two words here"),
        ("connect to 10.0.0.1:5432 failed", "connect to 192.168.7.20:6432 failed"),
    ],
)
def test_what_differs_only_in_its_data_is_one_failure(one: str, other: str) -> None:
    assert fingerprint("t", "E", one) == fingerprint("t", "E", other), (normalised(one), normalised(other))


@pytest.mark.parametrize("other", [("u", "E", "gone"), ("t", "F", "gone"), ("t", "E", "lost")])
def test_another_type_error_or_message_is_another_failure(other: tuple[str, str, str]) -> None:
    assert fingerprint("t", "E", "gone") != fingerprint(*other)


def test_words_are_kept() -> None:
    assert normalised("read and/or write: TCP/IP") == "read and/or write: TCP/IP"


@given(st.text(), st.text(), st.text())
def test_anything_has_a_fingerprint_of_sixteen_digits(type_: str, error: str, message: str) -> None:
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(type_, error, message))


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_tells_failures_apart(number: float) -> None:
    assert normalised(f"at {number} of it") == "at # of it"
