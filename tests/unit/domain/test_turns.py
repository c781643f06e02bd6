"""Whose turn it is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain import turns
from milepost.domain.turns import Group, Share, Turns


def group(tenant: str = "a", priority: int = 1, type_: str = "t", key: str = "", queue: str = "q") -> Group:
    return Group(queue, tenant, priority, type_, key)


def test_slots_are_shared_evenly_among_tenants_however_many_tasks_each_has() -> None:
    shares = Turns().share([group("a"), group("b"), group("c")], 7)
    assert sorted(share.slots for share in shares) == [2, 2, 3]


def test_one_slot_goes_to_who_was_served_longest_ago_and_to_a_newcomer_first() -> None:
    order = Turns()
    got = []
    for waiting in (["a", "b"], ["a", "b"], ["a", "b", "new"], ["a", "b", "new"], ["a", "b", "new"]):
        (share,) = order.share([group(tenant) for tenant in waiting], 1)
        order.served([share.group])
        got.append(share.group.tenant)
    assert got == ["a", "b", "new", "a", "b"]


def test_priority_is_a_matter_within_a_tenant() -> None:
    waiting = [group("a", 0), group("a", 1), group("a", 2), group("b", 2)]
    shares = Turns().share(waiting, 4)
    assert shares == [Share(group("a", 0), 2), Share(group("b", 2), 2)]


def test_types_and_keys_of_a_tenant_take_turns() -> None:
    waiting = [group(type_="x"), group(type_="y", key="1"), group(type_="y", key="2")]
    order = Turns()
    got = []
    for _ in range(6):
        (share,) = order.share(waiting, 1)
        order.served([share.group])
        got.append(share.group)
    assert got[:3] == got[3:]
    assert set(got) == set(waiting)


def test_queues_take_turns_whatever_the_number_of_their_tenants() -> None:
    waiting = [group("a", queue="small"), *(group(f"t{n}", queue="large") for n in range(9))]
    shares = Turns().share(waiting, 10)
    assert sum(share.slots for share in shares if share.group.queue == "small") == 5


def test_room_bounds_a_share() -> None:
    waiting = [group("a"), group("b")]
    assert Turns().share(waiting, 4, {group("a"): 0}) == [Share(group("b"), 2)]


def test_who_is_forgotten_counts_as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REMEMBERED", 6)
    order = Turns()
    for tenant in "abcdefgh":
        order.served([group(tenant)])
    assert len(order._served) <= 6
    (share,) = order.share([group("h"), group("a")], 1)
    assert share.group.tenant == "a"


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2), st.sampled_from("xy")), max_size=12), st.data())
def test_all_slots_are_given_and_no_tenant_gets_two_more_than_another(
    those: list[tuple[str, int, str]], data: st.DataObject
) -> None:
    waiting = sorted({group(*each) for each in those})
    order = Turns()
    for _ in range(3):
        slots = data.draw(st.integers(0, 9))
        shares = order.share(waiting, slots)
        assert sum(share.slots for share in shares) == (slots if waiting else 0)
        got = Counter({each.tenant: 0 for each in waiting})
        for share in shares:
            got[share.group.tenant] += share.slots
            assert share.group.priority == min(w.priority for w in waiting if w.tenant == share.group.tenant)
        assert max(got.values(), default=0) - min(got.values(), default=0) <= 1
        order.served([share.group for share in shares])
