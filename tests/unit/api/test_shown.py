"""ETags: the same for the same bytes, another for others, compared as RFC 9110 says."""

import pytest

from milepost.runtime.settings import Settings
from milepost_api.shown import etag_of, matches, with_links


def test_an_etag_is_weak_and_follows_the_bytes() -> None:
    assert etag_of(b"a") == etag_of(b"a") != etag_of(b"b")
    assert etag_of(b"a").startswith('W/"')


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (None, False), ("", False), ('W/"x"', True), ('"x"', True), ("*", True), ('"y", W/"x"', True),
        ('"y"', False), ("x", False), ('W/"xx"', False),
    ],
)  # fmt: skip
def test_if_none_match_is_a_list_weakly_compared(header: str | None, match: bool) -> None:
    assert matches(header, 'W/"x"') is match


def test_links_are_added_to_the_members_that_are_there() -> None:
    settings = Settings(_env_file=None, stream_url='wss://h/"', events_url="https://h/notifier/")
    body = with_links(b'{"id":"17"}', "17", settings)
    assert body.startswith(b'{"id":"17","links":{"self":"/v1/tasks/17",')
    assert b'"events":"https://h/notifier/v1/tasks/17/events"' in body
    assert body.endswith(b'"stream":"wss://h/\\""}}')
