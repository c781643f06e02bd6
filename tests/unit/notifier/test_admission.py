"""Who may connect: addresses behind proxies, and counts."""

from functools import partial
from typing import Any

import pytest

from milepost.errors import SettingsError
from milepost.runtime.settings import Settings
from milepost_notifier.admission import _REMEMBERED_MAX, BARRED_S, PER_ADDRESS, Addresses, Admission, Visit
from milepost_notifier.budget import Budget

PROXIES = ["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48"]


def admission(**settings: Any) -> Admission:
    return Admission(Settings(_env_file=None, **settings))


class TestAddress:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "client"),
        [
            ("198.51.100.1", [], "198.51.100.1"),
            ("::ffff:198.51.100.1", [], "198.51.100.1"),
            ("2001:db8:2:3:4:5:6:7", [], "2001:db8:2:3::/64"),
            ("fe80::1%eth0", [], "fe80::/64"),
            (None, ["198.51.100.1"], ""),
            # Whoever is no proxy may say what it likes.
            ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
            ("192.0.2.8", ["203.0.113.9"], "192.0.2.8"),
            ("10.1.1.1", ["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.1.1.1", ["203.0.113.9"], "203.0.113.9"),
            ("2001:db8:1::1", ["2001:db8:9::1"], "2001:db8:9::/64"),
            # What a client wrote itself stands before what the proxies appended.
            ("10.1.1.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", ["1.2.3.4", "203.0.113.9", "192.0.2.7"], "203.0.113.9"),
            ("10.1.1.1", ["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", ["10.9.9.9"], "10.9.9.9"),
            ("10.1.1.1", [], "10.1.1.1"),
            ("10.1.1.1", ["unknown"], "10.1.1.1"),
            ("10.1.1.1", ["203.0.113.9, _hidden"], "10.1.1.1"),
            ("10.1.1.1", [""], "10.1.1.1"),
            ("10.1.1.1", ["203.0.113.9:4711"], "203.0.113.9"),
            ("10.1.1.1", ["[2001:db8:9::1]:4711"], "2001:db8:9::/64"),
        ],
    )
    def test_is_that_of_the_last_who_is_no_proxy(self, peer: str | None, forwarded: list[str], client: str) -> None:
        assert Addresses(PROXIES).client(peer, forwarded) == client

    def test_is_the_peer_s_when_no_proxy_is_trusted(self) -> None:
        assert Addresses([]).client("127.0.0.1", ["203.0.113.9"]) == "127.0.0.1"

    def test_of_a_proxy_that_is_none_stops_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MILEPOST_TRUSTED_PROXIES", "10.0.0.0/8, nginx")
        with pytest.raises(SettingsError, match=r"MILEPOST_TRUSTED_PROXIES.*nginx"):
            Settings.load()


class TestCounts:
    def test_an_address_has_so_many_and_room_again_when_one_goes(self) -> None:
        counts = admission(max_connections_per_address=2)
        visits = [Visit(counts) for _ in range(3)]
        assert [visit.come("198.51.100.1", [], 0.0) is None for visit in visits] == [True, True, False]
        assert Visit(counts).come("198.51.100.2", [], 0.0) is None
        visits[2].over()
        assert Visit(counts).come("198.51.100.1", [], 0.0) is not None
        visits[0].over()
        assert Visit(counts).come("198.51.100.1", [], 0.0) is None

    def test_neighbours_of_one_ipv6_network_are_one(self) -> None:
        counts = admission(max_connections_per_address=1)
        assert Visit(counts).come("2001:db8::1", [], 0.0) is None
        assert Visit(counts).come("2001:db8::2", [], 0.0) is not None
        assert Visit(counts).come("2001:db8:0:1::1", [], 0.0) is None

    @pytest.mark.parametrize("local", ["127.0.0.1", "::1", "127.8.8.8", None])
    def test_this_machine_has_no_limit_unless_one_is_set(self, local: str | None) -> None:
        counts = admission()
        assert [Visit(counts).come(local, [], 0.0) for _ in range(PER_ADDRESS + 1)] == [None] * (PER_ADDRESS + 1)
        far = [Visit(counts).come("198.51.100.1", [], 0.0) for _ in range(PER_ADDRESS + 1)]
        assert [why is None for why in far] == [True] * PER_ADDRESS + [False]
        strict = admission(max_connections_per_address=1)
        assert [Visit(strict).come(local, [], 0.0) is None for _ in range(2)] == [True, False]

    def test_a_tenant_has_so_many(self) -> None:
        counts = admission(max_connections_per_tenant=1)
        first, second = Visit(counts), Visit(counts)
        assert first.known("a") is None
        assert second.known("a") is not None
        assert Visit(counts).known("b") is None
        for visit in (first, second):
            visit.over()
        assert Visit(counts).known("a") is None

    def test_nothing_is_kept_of_who_is_gone(self) -> None:
        counts = admission()
        for number in range(100):
            visit = Visit(counts)
            visit.waits(lambda: None)
            visit.come(f"198.51.100.{number}", [], 0.0)
            visit.known(f"t{number}")
            visit.over()
            visit.over()
        assert (dict(counts.by_address), dict(counts.by_tenant), counts.waiting) == ({}, {}, {})


class TestComing:
    def test_an_address_may_come_back_at_once_with_all_it_has_and_then_at_a_pace(self) -> None:
        counts = admission(max_connections_per_address=30, max_new_connections_per_second=2)

        def comes(now: float, address: str = "198.51.100.1") -> bool:
            visit = Visit(counts)
            came = visit.come(address, [], now) is None
            visit.over()
            return came

        assert [comes(0.0) for _ in range(31)] == [True] * 30 + [False]
        assert comes(0.0, "198.51.100.2")
        assert [comes(1.0) for _ in range(3)] == [True, True, False]
        assert [comes(100.0) for _ in range(31)] == [True] * 30 + [False]

    @pytest.mark.parametrize("local", ["127.0.0.1", "::1", None])
    def test_this_machine_may_come_as_fast_as_it_likes_unless_a_limit_is_set(self, local: str | None) -> None:
        counts = admission()
        assert not any(counts.too_fast(counts.addresses.client(local, []), 0.0) for _ in range(PER_ADDRESS + 1))
        strict = admission(max_new_connections_per_second=1, max_connections_per_address=2)
        assert [strict.too_fast(strict.addresses.client(local, []), 0.0) for _ in range(3)] == [False, False, True]

    def test_of_many_addresses_those_that_came_last_are_remembered(self) -> None:
        counts = admission(max_connections_per_address=1, max_new_connections_per_second=1)
        names = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(_REMEMBERED_MAX + 1)]
        assert not any(counts.too_fast(name, 0.0) for name in names)
        assert counts.too_fast(names[-1], 0.0)
        assert not counts.too_fast(names[0], 0.0)
        assert len(counts._coming) == _REMEMBERED_MAX


class TestBarring:
    def test_keeps_an_address_out_for_a_while_and_no_other(self) -> None:
        counts = admission()
        flooder = Visit(counts)
        flooder.come("198.51.100.1", [], 0.0)
        flooder.sent_too_much(0.0)
        flooder.over()
        assert Visit(counts).come("198.51.100.1", [], BARRED_S - 0.1) is not None
        assert Visit(counts).come("198.51.100.2", [], 0.1) is None
        assert Visit(counts).come("198.51.100.1", [], BARRED_S) is None

    def test_is_not_for_this_machine(self) -> None:
        counts = admission()
        flooder = Visit(counts)
        flooder.come("127.0.0.1", [], 0.0)
        flooder.sent_too_much(0.0)
        assert Visit(counts).come("127.0.0.1", [], 0.1) is None


class TestWaiting:
    def test_the_one_who_has_waited_longest_makes_room(self) -> None:
        counts = admission(max_pending_hellos=2)
        gone: list[str] = []
        visits = {}
        for name in ("a", "b", "c", "d"):
            visits[name] = Visit(counts)
            if name == "d":
                visits["b"].known("t")
            visits[name].waits(partial(gone.append, name))
        assert gone == ["a"]


class TestBudget:
    def test_is_a_burst_and_then_a_rate(self) -> None:
        budget = Budget(rate=10, burst=5, now=0.0)
        assert [budget.take(0.0) for _ in range(6)] == [True] * 5 + [False]
        assert [budget.take(0.2) for _ in range(3)] == [True, True, False]
        assert [budget.take(1000.0) for _ in range(6)] == [True] * 5 + [False]
