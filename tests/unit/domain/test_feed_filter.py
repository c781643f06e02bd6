"""Which tasks a filter is for."""

import pytest

from milepost.domain.feed_filter import ALL, Filter, Traits, filter_of
from milepost_schemas.feed import FeedFilter

ID = "01890000-0000-7000-8000-000000000001"
FULL = Filter("t", "q", (("a", "1"), ("b", "")), ID, ID)


@pytest.mark.parametrize(
    ("only", "matches"),
    [
        (ALL, True),
        (Filter(type="t", queue="q", labels=(("a", "1"),), parent="p", root="r"), True),
        (Filter(labels=(("a", "1"), ("b", ""))), True),
        (Filter(type="T"), False),
        (Filter(queue="r"), False),
        (Filter(labels=(("a", "2"),)), False),
        (Filter(labels=(("a", "1"), ("c", ""))), False),
        (Filter(parent="r"), False),
        (Filter(root="p"), False),
        (Filter(type="t", queue="other"), False),
    ],
)
def test_everything_it_says_has_to_be_so(only: Filter, matches: bool) -> None:
    assert only.matches(Traits("t", "q", {"a": "1", "b": ""}, "p", "r")) is matches


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (ALL, FULL, FULL),
        (FULL, FULL, FULL),
        (Filter(type="t"), Filter(queue="q"), Filter(type="t", queue="q")),
        (Filter(labels=(("b", "2"),)), Filter(labels=(("a", "1"),)), Filter(labels=(("a", "1"), ("b", "2")))),
        (Filter(labels=(("a", "1"),)), Filter(labels=(("a", "2"),)), None),
        (Filter(type="t"), Filter(type="u"), None),
        (Filter(parent="p"), Filter(parent="q"), None),
    ],
)
def test_two_are_for_tasks_of_both(one: Filter, other: Filter, both: Filter | None) -> None:
    assert one.both(other) == other.both(one) == both


def test_it_is_written_as_it_is_asked_for() -> None:
    for only in (FULL, ALL, Filter(type="t")):
        assert filter_of(FeedFilter.model_validate(only.asked())) == only
    assert filter_of(None) == ALL


@pytest.mark.parametrize("lacking", ["type", "queue", "labels", "root_id", "parent_id"])
def test_traits_need_all_members(lacking: str) -> None:
    members: dict[str, object] = {
        "type": "t",
        "queue": "q",
        "labels": {},
        "parent_id": None,
        "root_id": ID,
        "state": "queued",
    }
    assert Traits.of(members) == Traits("t", "q", {}, None, ID)
    del members[lacking]
    assert Traits.of(members) is None
