"""The feed of a tenant's tasks: what is gathered, and what a session makes of it."""

from typing import Any

import orjson
import pytest

from milepost_notifier.feeds import FRAME_BYTES, Gathered
from milepost_notifier.limits import Limits
from milepost_notifier.session import Ignore, Listen
from milepost_schemas.frames import CloseCode
from tests.unit.notifier.making import OTHER, TASK, Driven

SUB = {"t": "sub", "id": 7, "feed": "tasks"}


def entry(epoch: int, seq: int, kind: str, data: Any, task: Any = TASK) -> bytes:
    """Return what apply.lua tells a feed of one event."""
    sort = 1 if kind == "progress" else 0
    return b"%b - - %d %d %b %d 0 -\n%b\n" % (str(task).encode(), epoch, seq, kind.encode(), sort, orjson.dumps(data))


def taken(gathered: Gathered, now: float) -> list[dict[str, Any]]:
    return [change for changes in gathered.take(now) for change in orjson.loads(changes)]


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

    def test_large_changes_are_spread_over_frames(self) -> None:
        gathered = Gathered()
        for seq in range(5):
            gathered.add(entry(1, seq, "succeeded", {"result": "x" * FRAME_BYTES}))
        assert [len(orjson.loads(changes)) for changes in gathered.take(0.0)] == [1] * 5

    @pytest.mark.parametrize("message", [b"nonsense\n{}\n", b"\n\n", b"a b\n{}\nc\n"])
    def test_what_the_ingest_did_not_write_is_refused(self, message: bytes) -> None:
        with pytest.raises(ValueError, match=r".*"):
            Gathered().add(message)


def listening(limits: Limits | None = None) -> Driven:
    driven = Driven(limits)
    driven.send(SUB)
    assert driven.session.intents == [Listen()]
    driven.session.intents.clear()
    driven.session.feed_on(reset=False)
    assert driven.frames() == [{"t": "live", "id": 7}]
    return driven


class TestSession:
    def test_says_live_and_then_what_changes(self) -> None:
        driven = listening()
        change = {"task": str(TASK), "at": [1, 0], "kind": "started", "data": {"state": "running"}}
        driven.session.changes(orjson.dumps([change]), driven.now)
        assert driven.frames() == [{"t": "changes", "id": 7, "changes": [change]}]

    def test_tells_nothing_before_it_is_live(self) -> None:
        driven = Driven()
        driven.send(SUB)
        driven.session.changes(b"[]", driven.now)
        assert driven.frames() == []

    def test_says_when_something_was_missed(self) -> None:
        driven = listening()
        driven.session.feed_on(reset=True)
        assert driven.frames() == [{"t": "live", "id": 7, "reset": True}]

    def test_leaves_changes_out_for_a_slow_client_and_says_so_when_it_is_fast_again(self) -> None:
        driven = listening(Limits(soft=1000))
        driven.stall()
        for _ in range(50):
            driven.session.changes(b'[{"data":"%b"}]' % (b"x" * 100), driven.now)
        assert driven.session.lagging
        assert driven.session.outbox.size < 2000
        while driven.session.outbox.take(1):  # told half a message at a time
            pass
        driven.session.stalled = False
        driven.tick(2.0)
        assert driven.frames() == [{"t": "live", "id": 7, "reset": True}]
        driven.session.changes(b"[]", driven.now)
        assert driven.frames() == [{"t": "changes", "id": 7, "changes": []}]

    def test_ends_with_unsub_and_with_the_connection(self) -> None:
        driven = listening()
        driven.send({"t": "unsub", "id": 7})
        assert driven.session.intents == [Ignore()]
        driven.session.changes(b"[]", driven.now)
        assert driven.frames() == []
        driven = listening()
        driven.session.lost()
        assert driven.session.intents == [Ignore()]

    def test_takes_no_id_that_is_in_use(self) -> None:
        driven = listening()
        driven.send(SUB)
        driven.sub(7)
        assert [frame["code"] for frame in driven.frames()] == ["duplicate_sub"] * 2

    @pytest.mark.parametrize(
        "frame", [{"t": "sub", "id": 1}, {**SUB, "task": str(TASK)}, {**SUB, "from": [0, 0]}, {**SUB, "feed": "queues"}]
    )
    def test_takes_a_task_or_a_feed(self, frame: dict[str, Any]) -> None:
        driven = Driven()
        driven.send(frame)
        assert driven.session.closing is not None
        assert driven.session.closing[0] == CloseCode.PROTOCOL_VIOLATION.code
