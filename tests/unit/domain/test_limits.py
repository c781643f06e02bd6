"""What holds tasks back."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.limits import (
    EACH,
    EVERYBODY,
    Limit,
    Limits,
    Name,
    Rate,
    Running,
    Scope,
    counts_for,
    crosses_tenants,
    grant,
    rates_used,
)
from milepost.domain.turns import Group, Share


def group(tenant: str = "a", type_: str = "t", key: str = "", queue: str = "q") -> Group:
    return Group(queue, tenant, 1, type_, key)


def limit(owner: str, scope: Scope, name: str, concurrency: int | None = None, rate: Rate | None = None) -> Limit:
    return Limit(Name(owner, scope, name), concurrency=concurrency, rate=rate)


def granted(shares: list[Share], limits: Limits, running: dict[Running, int] | None = None) -> dict[Group, int]:
    return dict(grant(shares, limits, running or {}, {}).shares)


def test_tasks_without_a_limit_are_held_back_by_none() -> None:
    limits = Limits([limit("a", Scope.QUEUE, "q", 1)])
    assert limits.of(group("b")) == ()
    assert limits.of(group("a", queue="other")) == ()
    assert not Limits().of(group())


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        (Name("a", Scope.QUEUE, "q"), Running("a", "q", "x", ""), Running("b", "q", "x", "")),
        (Name(EVERYBODY, Scope.QUEUE, "q"), Running("b", "q", "x", ""), Running("b", "r", "x", "")),
        (Name("a", Scope.TYPE, "x"), Running("a", "r", "x", ""), Running("a", "r", "y", "")),
        (Name("a", Scope.KEY, "k"), Running("a", "r", "y", "k"), Running("b", "r", "y", "k")),
        (Name(EVERYBODY, Scope.TENANT, "a"), Running("a", "r", "y", ""), Running("b", "r", "y", "")),
    ],
)
def test_what_runs_counts_for_the_limits_it_is_under(name: Name, yes: Running, no: Running) -> None:
    assert counts_for(name, yes)
    assert not counts_for(name, no)
    assert crosses_tenants(name) == (name.owner == EVERYBODY and name.scope is not Scope.TENANT)


def test_each_key_has_a_limit_of_its_own_and_one_that_was_set_for_it_comes_first() -> None:
    limits = Limits([limit("a", Scope.KEY, EACH, 1), limit("a", Scope.KEY, "vip", 3)])
    shares = [Share(group(key=key), 5) for key in ("x", "y", "vip", "")]
    assert granted(shares, limits, {Running("a", "q", "t", "x"): 1}) == {
        group(key="y"): 1,
        group(key="vip"): 3,
        group(): 5,
    }


def test_places_of_one_limit_go_round_and_who_gets_none_learns_why() -> None:
    bound = limit(EVERYBODY, Scope.QUEUE, "q", 5)
    shares = [Share(group("a"), 9), Share(group("b"), 9)]
    result = grant(shares, Limits([bound]), {Running("c", "q", "t", ""): 2}, {})
    assert dict(result.shares) == {group("a"): 2, group("b"): 1}
    assert result.held == {group("a"): bound, group("b"): bound}


def test_who_gets_its_whole_share_is_not_held_back() -> None:
    bound = limit(EVERYBODY, Scope.QUEUE, "q", 2)
    result = grant([Share(group("a"), 1), Share(group("b"), 2)], Limits([bound]), {}, {})
    assert dict(result.shares) == {group("a"): 1, group("b"): 1}
    assert result.held == {group("b"): bound}


def test_the_tightest_limit_holds() -> None:
    limits = Limits([limit("a", Scope.QUEUE, "q", 5), limit("a", Scope.TYPE, "t", 1)])
    assert granted([Share(group(), 9), Share(group(type_="u"), 9)], limits) == {group(): 1, group(type_="u"): 4}


def test_a_limit_that_was_lowered_below_what_runs_grants_nothing() -> None:
    limits = Limits([limit("a", Scope.QUEUE, "q", 1)])
    assert granted([Share(group(), 1)], limits, {Running("a", "q", "t", ""): 7}) == {}


def test_a_rate_grants_a_burst_and_then_as_much_as_time_gives() -> None:
    rate = limit("a", Scope.KEY, "k", rate=Rate(10, 60.0))
    limits, share = Limits([rate]), [Share(group(key="k"), 99)]
    assert dict(grant(share, limits, {}, {}).shares) == {group(key="k"): 10}
    assert rates_used({group(key="k"): 10}, limits) == {rate.name: 60.0}
    assert grant(share, limits, {}, {rate.name: 60.0}).shares == []
    assert dict(grant(share, limits, {}, {rate.name: 48.0}).shares) == {group(key="k"): 2}
    assert dict(grant(share, limits, {}, {rate.name: -5.0}).shares) == {group(key="k"): 10}


def test_a_pause_is_of_a_queue_for_one_tenant_or_for_all() -> None:
    own = Limit(Name("a", Scope.QUEUE, "q"), paused=True)
    all_of_it = Limit(Name(EVERYBODY, Scope.QUEUE, "r"), paused=True)
    limits = Limits([own, all_of_it])
    assert limits.pause("q", "a") == own
    assert limits.pause("q", "b") is None
    assert limits.pause("r", "b") == all_of_it
    assert limits.of(group()) == (), "a pause is no limit"


def test_limits_that_are_the_same_are_equal() -> None:
    assert Limits([limit("a", Scope.QUEUE, "q", 1)]) == Limits([limit("a", Scope.QUEUE, "q", 1)])
    assert Limits([limit("a", Scope.QUEUE, "q", 1)]) != Limits([limit("a", Scope.QUEUE, "q", 2)])


groups = st.builds(group, st.sampled_from("ab"), st.sampled_from("tu"), st.sampled_from(["", "k", "l"]))
names = st.sampled_from(
    [
        Name("a", Scope.QUEUE, "q"),
        Name(EVERYBODY, Scope.QUEUE, "q"),
        Name("b", Scope.TYPE, "t"),
        Name("a", Scope.KEY, EACH),
        Name(EVERYBODY, Scope.TENANT, "b"),
    ]
)


@given(
    st.dictionaries(groups, st.integers(1, 5), max_size=6),
    st.dictionaries(names, st.integers(0, 4)),
    st.dictionaries(groups, st.integers(1, 3), max_size=4),
)
def test_no_limit_is_ever_passed_and_no_place_stays_free(
    wanted: dict[Group, int], bounds: dict[Name, int], runs: dict[Group, int]
) -> None:
    limits = Limits([Limit(name, concurrency=most) for name, most in bounds.items()])
    running = Counter({Running(g.tenant, g.queue, g.type, g.key): count for g, count in runs.items()})
    result = grant([Share(*each) for each in wanted.items()], limits, running, {})
    before = running.copy()
    for share in result.shares:
        assert share.slots <= wanted[share.group]
        running[Running(share.group.tenant, share.group.queue, share.group.type, share.group.key)] += share.slots
    got = dict(result.shares)
    for g, count in wanted.items():
        full = []
        for each in limits.of(g):
            taken = sum(n for task, n in running.items() if counts_for(each.name, task))
            was = sum(n for task, n in before.items() if counts_for(each.name, task))
            assert each.concurrency is not None
            assert taken <= max(each.concurrency, was)
            full.append(taken >= each.concurrency)
        if got.get(g, 0) < count:
            assert any(full), "it was held back, so one of its limits is full"
            assert g in result.held
