"""What doctor makes of numbers."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from milepost.cli.examine import judge
from milepost.cli.examine.judge import Book, Group, WebhookRow, WorkerRow

AT = datetime(2026, 1, 1, tzinfo=UTC)
PLACE, OTHER = ("events", 0), ("events", 1)


def worker(*, ahead_s: float = 0.0, seen_s: float = 1.0, up_s: float = 100.0, presence: bool = True) -> WorkerRow:
    """Return a worker; `ahead_s`: its clock is ahead of Postgres's."""
    made = int((AT.timestamp() + ahead_s) * 1000)
    return WorkerRow(UUID(int=(made << 80) | (7 << 76) | (2 << 62)), "host-1", AT, seen_s, 0, 4, up_s, presence)


def test_topics_that_are_missing_or_too_small_are_named_with_what_to_do() -> None:
    assert judge.topics({"a": 8, "b": 1}, {"a": 8, "b": 3, "c": 1}) == []
    [(missing, migrate), (few, alter)] = judge.topics({"a": 8, "b": 1}, {"a": 4})
    assert (missing, migrate) == ("topics are missing: b", "Run `milepost migrate`.")
    assert few == "topics have too few partitions: a (4 of 8)"
    assert "--alter" in alter


@pytest.mark.parametrize(
    ("group", "busy", "ok", "says"),
    [
        (Group(2, {}, {PLACE: 0}, frozenset()), False, True, "nothing waits"),
        (Group(1, {}, {PLACE: 0}, frozenset()), False, True, "1 member,"),
        (Group(0, {PLACE: 3}, {PLACE: 3}, frozenset()), False, False, "no members"),
        (Group(2, {PLACE: 3}, {PLACE: 3}, frozenset()), False, False, "do not move (events/0)"),
        (Group(2, {PLACE: 3}, {PLACE: 9}, frozenset({PLACE})), False, True, "9 records wait"),
        (Group(2, {PLACE: 3, OTHER: 1}, {PLACE: 9, OTHER: 1}, frozenset({PLACE})), False, False, "(events/1)"),
        (Group(2, {PLACE: 0}, {PLACE: 9}, frozenset()), False, True, "9 records wait"),
        (Group(2, {PLACE: 3}, {PLACE: 3}, frozenset()), True, True, "for free slots"),
    ],
)
def test_lag_is_a_fault_only_where_somebody_could_read_and_nothing_moves(
    group: Group, busy: bool, ok: bool, says: str
) -> None:
    found = judge.group("ingest", "events", group, busy=busy)
    assert found.ok is ok
    assert says in found.detail
    assert found.ok or found.advice


def test_an_old_outbox_and_leases_nobody_takes_back_are_faults() -> None:
    assert all(found.ok for found in judge.book(Book(3, 2.0, 10, 500.0, 0)))
    outbox, tasks = judge.book(Book(3, 120.0, 0, None, 2))
    assert (outbox.ok, outbox.detail) == (False, "3 completions wait, the oldest for 120 s")
    assert (tasks.ok, tasks.detail) == (False, "0 tasks queued; 2 run under leases that ran out")


@pytest.mark.parametrize(
    ("offset_s", "ahead_s", "says"),
    [
        (0.2, -5.0, None),  # between naming itself and being heard a worker may take some seconds
        (3.0, 0.0, "this host is 3.0 s behind Postgres"),
        (-3.0, 0.0, "this host is 3.0 s ahead of Postgres"),
        (0.0, 30.0, "host-1 is 30 s ahead of Postgres"),
        (0.0, -3600.0, "host-1 is 3600 s behind Postgres"),
    ],
)
def test_clocks_that_differ_from_that_of_postgres_are_named(offset_s: float, ahead_s: float, says: str | None) -> None:
    found = judge.clocks(offset_s, [worker(ahead_s=ahead_s)])
    assert found.ok is (says is None)
    assert says is None or found.detail == says


def test_a_worker_that_went_silent_without_goodbye_is_named() -> None:
    assert judge.presence([worker()], 15.0, wanted=True).detail == "all 1 were seen within 15 s, none without its lock"
    found = judge.presence([worker(), worker(seen_s=90.0, presence=False)], 15.0, wanted=True)
    assert (found.ok, found.detail) == (False, "1 went silent: host-1 (90 s ago)")


def test_a_worker_that_was_killed_long_ago_is_named_and_no_fault_any_more() -> None:
    found = judge.presence([worker(), worker(seen_s=judge.GONE_S + 1, presence=False)], 15.0, wanted=True)
    assert found.ok
    assert found.detail == "all 1 were seen within 15 s, none without its lock; 1 ended without goodbye earlier: host-1"


def test_a_live_worker_without_presence_is_named_unless_it_just_started_or_presence_is_off() -> None:
    without = worker(presence=False)
    assert judge.presence([worker(presence=False, up_s=2.0)], 15.0, wanted=True).ok
    assert judge.presence([without], 15.0, wanted=False).ok
    found = judge.presence([worker(), without], 15.0, wanted=True)
    assert (found.ok, found.detail) == (False, "1 without presence lock: host-1")
    assert found.advice is not None
    assert "MILEPOST_PRESENCE=false" in found.advice


def test_webhooks_that_fail_are_named_with_what_to_do_and_are_no_fault_of_ours() -> None:
    assert judge.webhooks(0, []) == []
    [fine] = judge.webhooks(2, [])
    assert (fine.ok, fine.detail) == (True, "2, none fails")
    failing = WebhookRow(UUID(int=1), "red", 90.0, 3, disabled=False)
    [found] = judge.webhooks(5, [failing])
    assert found.ok
    assert f"1 of 5 fail or were disabled: {UUID(int=1)} of red (3 failures in 90 s)." in found.detail
    assert "milepost webhooks deliveries ID" in found.detail
    assert "--enable" not in found.detail
    [found] = judge.webhooks(5, [failing, failing._replace(id=UUID(int=2), disabled=True)])
    assert f"{UUID(int=2)} of red (disabled, 3 failures in 90 s)" in found.detail
    assert "milepost webhooks set ID --enable" in found.detail
