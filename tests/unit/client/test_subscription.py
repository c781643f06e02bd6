"""A watch whose reader is slow, away or late."""

from typing import Any
from uuid import UUID

import pytest

from milepost.client.events import RunEvent
from milepost.client.fold import LOST
from milepost.client.subscription import DROP_AFTER, MERGE_AFTER, Subscription
from milepost.client.waiting import Link, Protocol
from milepost.errors import Refused

ID = UUID("01941f29-7c00-7d3e-8a5b-0242ac120002")
OTHER = "01941f29-7c00-7d3e-8a5b-0242ac120003"


def snap(seq: int = 0, state: str = "running") -> dict[str, Any]:
    return {"t": "snap", "id": 1, "at": [1, seq], "task": {"id": str(ID), "state": state, "epoch": 1}}


def ev(seq: int, kind: str = "progress", task: str = str(ID), **data: Any) -> dict[str, Any]:
    return {"t": "ev", "id": 1, "task": task, "at": [1, seq], "prev": [1, seq - 1], "kind": kind, "data": data}


def joined() -> Subscription:
    subscription = Subscription(ID)
    assert subscription.frame(snap()) is None
    return subscription


async def drained(subscription: Subscription) -> list[RunEvent]:
    found = []
    while subscription.pending:
        item = await subscription.next()
        assert isinstance(item, RunEvent)
        found.append(item)
    return found


async def test_progress_replaces_progress_for_a_slow_reader_and_nothing_else_is_lost() -> None:
    subscription = joined()
    for seq in range(1, MERGE_AFTER + 100):
        subscription.frame(ev(seq, done=seq))
    subscription.frame(ev(MERGE_AFTER + 100, "succeeded", state="succeeded"))
    events = await drained(subscription)
    assert len(events) == MERGE_AFTER + 1
    assert sum(1 + event.merged for event in events) == MERGE_AFTER + 101
    assert events[-1].kind == "succeeded"
    assert events[-2].data == {"done": MERGE_AFTER + 99}


async def test_a_reader_that_never_reads_costs_bounded_memory() -> None:
    subscription = joined()
    for seq in range(1, DROP_AFTER + 10):
        subscription.frame(ev(seq, "log", message="x"))
    events = await drained(subscription)
    assert len(events) < 20
    assert events[0].kind == "snapshot"
    assert sum(1 + event.merged for event in events) == DROP_AFTER + 10


async def test_events_of_children_do_not_disturb_the_chain() -> None:
    subscription = joined()
    assert subscription.frame(ev(7, task=OTHER)) is None
    assert subscription.frame({**snap(8, "failed"), "task": {"id": OTHER, "state": "failed", "epoch": 1}}) is None
    assert subscription.frame(ev(1)) is None
    assert {event.view["id"] for event in await drained(subscription)} == {str(ID)}
    assert not subscription.fold.over


def test_a_hole_asks_for_a_new_subscription() -> None:
    assert joined().frame(ev(5)) is LOST


@pytest.mark.parametrize("at", [None, [1], [1, "2"], [1, 2, 3], ["1", 2], [True, 1]])
def test_a_frame_that_cannot_be_read_breaks_the_connection_not_the_watch(at: Any) -> None:
    with pytest.raises(Protocol):
        joined().frame({**snap(), "at": at})


async def test_down_and_up_are_told_once() -> None:
    subscription = joined()
    for link in (Link.UP, Link.DOWN, Link.DOWN, Link.UP):
        subscription.link(link)
    assert isinstance(await subscription.next(), RunEvent)
    assert [await subscription.next(), await subscription.next()] == [Link.DOWN, Link.UP]
    assert not subscription.pending


async def test_what_came_before_a_failure_is_still_read() -> None:
    subscription = joined()
    subscription.fail(Refused(4502, "about:blank", "forbidden"))
    assert isinstance(await subscription.next(), RunEvent)
    with pytest.raises(Refused):
        await subscription.next()


async def test_an_end_of_before_a_retry_is_not_the_end() -> None:
    subscription = Subscription(ID)
    subscription.newest = 2
    over = snap(4, "failed")
    assert subscription.frame(over) is None
    assert subscription.frame({**over, "t": "end"}) is None
    assert (subscription.pending, subscription.fold.over) == (False, False)
    again = {**over, "at": [3, 1], "task": {**over["task"], "epoch": 3}}
    subscription.frame(again)
    assert [event.last for event in await drained(subscription)] == [True]


def test_what_was_streamed_before_is_handed_over_ahead_of_the_snapshot_and_once() -> None:
    subscription = Subscription(ID, tail=5)
    tail = [{"at": [1, seq], "kind": "log", "data": {"message": str(seq)}} for seq in (1, 3)]
    joining = {"t": "snap", "at": [1, 4], "task": {"id": str(ID), "state": "running", "epoch": 1}, "age": 3.0}
    subscription.frame(joining | {"tail": tail})
    later = [*tail, {"at": [1, 6], "kind": "log", "data": {"message": "6"}}]
    subscription.frame(joining | {"at": [1, 7], "reset": True, "tail": later})
    items = [item for item in subscription._waiting if isinstance(item, RunEvent)]
    assert [(item.kind, item.at.seq) for item in items] == [
        ("log", 1), ("log", 3), ("snapshot", 4), ("log", 6), ("snapshot", 7),
    ]  # fmt: skip
    assert items[2].age == 3.0


class TestTrees:
    @staticmethod
    def born(seq: int = 0, epoch: int = 0, prev: Any = None) -> dict[str, Any]:
        whole = {"id": OTHER, "parent_id": str(ID), "state": "queued", "epoch": epoch}
        return {**ev(seq, "queued", OTHER, **whole), "at": [epoch, seq], "prev": prev}

    @staticmethod
    def watching() -> Subscription:
        subscription = Subscription(ID, tree=True)
        subscription.frame(snap())
        return subscription

    async def test_each_member_has_a_fold_of_its_own(self) -> None:
        subscription = self.watching()
        for frame in (self.born(), ev(1), {**ev(0, "started", OTHER, state="running"), "prev": [0, 0]}):
            assert subscription.frame(frame) is None
        _, child, root, started = await drained(subscription)
        assert (child.kind, child.view["id"], child.view["parent_id"]) == ("queued", OTHER, str(ID))
        assert root.view["id"] == str(ID)
        assert (started.view["id"], started.view["state"]) == (OTHER, "running")

    def test_an_event_that_begins_nothing_whole_is_a_loss(self) -> None:
        assert self.watching().frame({**ev(3, "log", OTHER, message="x"), "prev": None}) is LOST

    async def test_the_end_of_a_member_is_not_that_of_the_watch_and_it_may_begin_anew(self) -> None:
        subscription = self.watching()
        subscription.frame(self.born())
        over = {"t": "snap", "id": 1, "at": [1, 3], "task": {"id": OTHER, "state": "failed", "epoch": 1}}
        subscription.frame(over)
        assert not subscription.fold.over
        assert subscription.frame(self.born(0, 2, [1, 3])) is None
        events = await drained(subscription)
        assert [event.kind for event in events] == ["snapshot", "queued", "failed", "queued"]

    async def test_a_member_known_from_before_is_not_taken_back(self) -> None:
        subscription = self.watching()
        subscription.frame({"t": "snap", "id": 1, "at": [1, 3], "task": {"id": OTHER, "state": "running", "epoch": 1}})
        assert subscription.frame(self.born()) is None
        assert len(await drained(subscription)) == 2
        assert subscription.members[OTHER].view == {"id": OTHER, "state": "running", "epoch": 1}

    async def test_a_hole_in_a_member_is_seen(self) -> None:
        subscription = self.watching()
        subscription.frame(self.born())
        assert subscription.frame(ev(7, task=OTHER)) is LOST

    async def test_a_reader_that_never_reads_keeps_the_last_of_each(self) -> None:
        subscription = self.watching()
        subscription.frame(self.born())
        for seq in range(1, DROP_AFTER + 10):
            subscription.frame(ev(seq, "log", message="x"))
        events = await drained(subscription)
        assert {event.view["id"] for event in events} == {str(ID), OTHER}
