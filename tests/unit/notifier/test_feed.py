"""The feed of a tenant's tasks: what is gathered, and what a session makes of it."""

from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.feed_filter import ALL, Filter, Traits
from milepost_notifier.feeds import FRAME_BYTES, Gathered, lists_of
from milepost_notifier.intents import Ignore, Listen
from milepost_notifier.limits import Limits
from milepost_notifier.sieve import REMEMBERED, Change, Sieve
from milepost_schemas.frames import CloseCode
from tests.unit.notifier.making import OTHER, TASK, Driven

SUB = {"t": "sub", "id": 7, "feed": "tasks"}


def entry(epoch: int, seq: int, kind: str, data: Any, task: Any = TASK) -> bytes:
    """Return what apply.lua tells a feed of one event."""
    sort = 1 if kind == "progress" else 0
    return b"%b - - %d %d %b %d 0 -\n%b\n" % (str(task).encode(), epoch, seq, kind.encode(), sort, orjson.dumps(data))


def taken(gathered: Gathered, now: float) -> list[dict[str, Any]]:
    return [orjson.loads(text) for _, _, text in gathered.take(now)]


class TestGathered:
    def test_lifecycle_is_told_in_full_and_in_order(self) -> None:
        gathered = Gathered()
        gathered.add(entry(1, 0, "started", {"state": "running"}) + entry(1, 1, "succeeded", {"state": "succeeded"}))
        assert taken(gathered, 0.0) == [
            {"task": str(TASK), "at": [1, 0], "kind": "started", "data": {"state": "running"}},
            {"task": str(TASK), "at": [1, 1], "kind": "succeeded", "data": {"state": "succeeded"}},
        ]
        assert not gathered.waiting

    def test_progress_is_told_once_a_second_and_then_the_latest(self) -> None:
        gathered = Gathered()
        gathered.add(entry(1, 1, "progress", {"done": 1}))
        assert [change["at"] for change in taken(gathered, 0.0)] == [[1, 1]]
        gathered.add(entry(1, 2, "progress", {"done": 2}) + entry(1, 3, "progress", {"done": 3}))
        assert taken(gathered, 0.5) == []
        assert gathered.waiting
        assert [change["at"] for change in taken(gathered, 1.0)] == [[1, 3]]

    def test_progress_that_waits_is_told_before_what_follows_it(self) -> None:
        gathered = Gathered()
        gathered.add(entry(1, 1, "progress", {"done": 1}))
        taken(gathered, 0.0)
        gathered.add(entry(1, 2, "progress", {"done": 2}) + entry(1, 3, "retrying", {"state": "scheduled"}))
        assert [change["at"] for change in taken(gathered, 0.1)] == [[1, 2], [1, 3]]

    def test_one_task_does_not_hold_up_the_progress_of_another(self) -> None:
        gathered = Gathered()
        gathered.add(entry(1, 1, "progress", {"done": 1}))
        taken(gathered, 0.0)
        gathered.add(entry(1, 1, "progress", {"done": 1}, task=OTHER))
        assert [change["task"] for change in taken(gathered, 0.1)] == [str(OTHER)]

    def test_a_task_that_is_told_late_says_each_of_its_members_once(self) -> None:
        gathered = Gathered()
        gathered.add(b'%b - - 1 2 queued 4 0 -\n{"id":"x","state":"queued","state":"running"}\n' % str(TASK).encode())
        [(task, kind, text)] = gathered.take(0.0)
        assert (task, kind) == (str(TASK).encode(), b"queued")
        assert text == b'{"task":"%b","at":[1,2],"kind":"queued","data":{"id":"x","state":"running"}}' % task

    def test_large_changes_are_spread_over_frames(self) -> None:
        gathered = Gathered()
        for seq in range(5):
            gathered.add(entry(1, seq, "succeeded", {"result": "x" * FRAME_BYTES}))
        texts = [text for _, _, text in gathered.take(0.0)]
        assert [len(orjson.loads(changes)) for changes in lists_of(texts)] == [1] * 5

    @pytest.mark.parametrize("message", [b"nonsense\n{}\n", b"\n\n", b"a b\n{}\nc\n"])
    def test_what_the_ingest_did_not_write_is_refused(self, message: bytes) -> None:
        with pytest.raises(ValueError, match=r".*"):
            Gathered().add(message)


def change(task: int, kind: str = "progress", **data: Any) -> Change:
    name = str(UUID(int=task)).encode()
    return name, kind.encode(), orjson.dumps({"task": name.decode(), "kind": kind, "data": data})


def whole(task: int, **more: Any) -> Change:
    members = {"type": "t", "queue": "q", "labels": {}, "parent_id": None, "root_id": str(UUID(int=task)), **more}
    return change(task, "queued", **members)


def traits(task: int, **more: Any) -> dict[bytes, Traits | None]:
    name, _, text = whole(task, **more)
    return {name: Traits.of(orjson.loads(text)["data"])}


def sieve_for(*filters: Filter) -> Sieve:
    sieve = Sieve()
    for only in filters:
        sieve.add(only)
    return sieve


FEW = st.sampled_from("ab")
SOME = st.none() | FEW
FILTERS = st.builds(
    Filter, SOME, SOME, st.dictionaries(FEW, FEW).map(lambda labels: tuple(sorted(labels.items()))), SOME, SOME
).filter(lambda only: only != ALL)
TRAITS = st.builds(Traits, FEW, FEW, st.dictionaries(FEW, FEW), SOME, FEW)


class TestSieve:
    @given(st.lists(FILTERS, max_size=20, unique=True), st.integers(0, 20), TRAITS)
    def test_finds_every_filter_that_matches_and_no_other(self, filters: list[Filter], left: int, task: Traits) -> None:
        sieve = sieve_for(*filters)
        gone, kept = filters[:left], filters[left:]
        assert [sieve.remove(only) for only in gone] == [bool(filters[n + 1 :]) for n in range(len(gone))]
        assert sieve.put([change(1)])
        sieve.learn({change(1)[0]: task})
        assert sieve.take() == {only: [change(1)[2]] for only in kept if only.matches(task)}

    def test_lets_through_what_each_filter_is_for(self) -> None:
        one, other, none = Filter(type="t"), Filter(queue="other"), Filter(type="t", queue="other")
        sieve = sieve_for(one, other, none)
        first, second, third = whole(1), whole(2, type="u", queue="other"), change(1, "started")
        assert sieve.put([first, second, third])
        found = sieve.take()
        assert found == {one: [first[2], third[2]], other: [second[2]]}
        assert not sieve.stuck

    def test_asks_about_tasks_it_never_saw_whole_and_keeps_the_order_meanwhile(self) -> None:
        only = Filter(queue="q")
        sieve = sieve_for(only)
        changes = [whole(1), change(2), whole(3), change(2, "succeeded", state="succeeded")]
        assert sieve.put(changes)
        assert sieve.take() == {only: [changes[0][2]]}
        assert sieve.stuck
        assert sieve.unknown(10) == [changes[1][0]]
        assert sieve.put([later := change(1)])
        assert sieve.take() == {}
        sieve.learn(traits(2))
        assert sieve.take() == {only: [each[2] for each in (*changes[1:], later)]}
        assert not sieve.stuck

    def test_what_waits_for_others_is_told_as_soon_as_it_is_known(self) -> None:
        only = Filter(queue="q")
        sieve = sieve_for(only)
        assert sieve.put([change(task) for task in range(5)])
        assert sieve.unknown(3) == [str(UUID(int=task)).encode() for task in range(3)]
        for task in range(3):
            sieve.learn(traits(task))
        assert len(sieve.take()[only]) == 3
        assert len(sieve.unknown(10)) == 2

    def test_a_task_that_is_not_there_holds_nobody_up(self) -> None:
        only = Filter(type="t")
        sieve = sieve_for(only)
        assert sieve.put([change(1), whole(2)])
        sieve.learn({str(UUID(int=1)).encode(): None})
        assert len(sieve.take()[only]) == 1

    def test_forgets_what_waits_for_too_long_and_says_so(self) -> None:
        sieve = sieve_for(Filter(type="t"))
        text = "x" * 1024 * 1024
        assert sieve.put([change(1, text=text) for _ in range(3)])
        assert not sieve.put([change(1, text=text) for _ in range(2)])
        assert not sieve.stuck

    def test_remembers_so_many_tasks_and_no_more(self) -> None:
        sieve = sieve_for(Filter(type="t"))
        assert sieve.put(whole(task) for task in range(REMEMBERED + 1))
        sieve.take()
        assert sieve.put([change(0), change(REMEMBERED)])
        assert sieve.unknown(10) == [str(UUID(int=0)).encode()]


def listening(limits: Limits | None = None) -> Driven:
    driven = Driven(limits)
    driven.send(SUB)
    assert driven.session.intents == [Listen()]
    driven.session.intents.clear()
    driven.session.feed_on(None, reset=False)
    assert driven.frames() == [{"t": "live", "id": 7}]
    return driven


class TestSession:
    def test_says_live_and_then_what_changes(self) -> None:
        driven = listening()
        change = {"task": str(TASK), "at": [1, 0], "kind": "started", "data": {"state": "running"}}
        driven.session.changes(None, orjson.dumps([change]), driven.now)
        assert driven.frames() == [{"t": "changes", "id": 7, "changes": [change]}]

    def test_tells_nothing_before_it_is_live(self) -> None:
        driven = Driven()
        driven.send(SUB)
        driven.session.changes(None, b"[]", driven.now)
        assert driven.frames() == []

    def test_says_when_something_was_missed(self) -> None:
        driven = listening()
        driven.session.feed_on(None, reset=True)
        assert driven.frames() == [{"t": "live", "id": 7, "reset": True}]

    def test_leaves_changes_out_for_a_slow_client_and_says_so_when_it_is_fast_again(self) -> None:
        driven = listening(Limits(soft=1000))
        driven.stall()
        for _ in range(50):
            driven.session.changes(None, b'[{"data":"%b"}]' % (b"x" * 100), driven.now)
        assert driven.session.lagging
        assert driven.session.outbox.size < 2000
        while driven.session.outbox.take(1):  # told half a message at a time
            pass
        driven.session.stalled = False
        driven.tick(2.0)
        assert driven.frames() == [{"t": "lag", "on": False}, {"t": "live", "id": 7, "reset": True}]
        driven.session.changes(None, b"[]", driven.now)
        assert driven.frames() == [{"t": "changes", "id": 7, "changes": []}]

    def test_ends_with_unsub_and_with_the_connection(self) -> None:
        driven = listening()
        driven.send({"t": "unsub", "id": 7})
        assert driven.session.intents == [Ignore()]
        driven.session.changes(None, b"[]", driven.now)
        assert driven.frames() == []
        driven = listening()
        driven.session.lost()
        assert driven.session.intents == [Ignore()]

    def test_tells_each_subscription_what_its_filter_lets_through(self) -> None:
        driven, only = listening(), Filter(type="t", labels=(("a", "1"), ("b", "2")))
        wanted = {"type": "t", "labels": {"b": "2", "a": "1"}}
        driven.send({**SUB, "id": 8, "filter": wanted})
        driven.send({**SUB, "id": 9, "filter": wanted})
        assert driven.session.intents == [Listen(only), Listen(only)]
        driven.session.intents.clear()
        driven.session.feed_on(only, reset=False)
        driven.session.changes(None, b"[]", driven.now)
        driven.session.changes(only, b"[1]", driven.now)
        raw = [orjson.loads(frame) for frame in driven.session.outbox.take(10_000)]
        assert [(frame["t"], frame["id"]) for frame in raw] == [
            ("live", 8), ("live", 9), ("changes", 7), ("changes", 8), ("changes", 9)
        ]  # fmt: skip
        driven.send({"t": "unsub", "id": 8})
        assert driven.session.intents == []
        driven.send({"t": "unsub", "id": 9})
        assert driven.session.intents == [Ignore(only)]

    @pytest.mark.parametrize("wanted", [{}, {"labels": {}}, {"type": None}])
    def test_a_filter_that_says_nothing_is_none(self, wanted: dict[str, Any]) -> None:
        driven = Driven()
        driven.send({**SUB, "filter": wanted})
        assert driven.session.intents == [Listen()]

    @pytest.mark.parametrize(
        "wanted",
        [{"tipe": "t"}, {"type": 1}, {"type": ""}, {"parent": "x"}, {"labels": {"a": 1}}, {"labels": ["a"]}, [], "t",
         {"labels": {str(n): "" for n in range(40)}}, {"type": "t\n"}, {"queue": "q" * 101}, {"root": 7}],
    )  # fmt: skip
    def test_a_filter_that_cannot_be_is_a_violation(self, wanted: Any) -> None:
        driven = Driven()
        driven.send({**SUB, "filter": wanted})
        assert driven.session.closing is not None
        assert driven.session.closing[0] == CloseCode.PROTOCOL_VIOLATION.code

    def test_takes_no_id_that_is_in_use(self) -> None:
        driven = listening()
        driven.send(SUB)
        driven.sub(7)
        assert [frame["code"] for frame in driven.frames()] == ["duplicate_sub"] * 2

    @pytest.mark.parametrize(
        "frame",
        [
            {"t": "sub", "id": 1},
            {"t": "sub", "id": 1, "task": str(TASK), "filter": {"type": "t"}},
            {**SUB, "task": str(TASK)},
            {**SUB, "from": [0, 0]},
            {**SUB, "feed": "queues"},
        ],
    )
    def test_takes_a_task_or_a_feed(self, frame: dict[str, Any]) -> None:
        driven = Driven()
        driven.send(frame)
        assert driven.session.closing is not None
        assert driven.session.closing[0] == CloseCode.PROTOCOL_VIOLATION.code
