"""What a watcher makes of what it is told."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from milepost.client.events import RunEvent
from milepost.client.fold import LOST, Fold
from milepost_schemas.position import Position

ID = "01941f29-7c00-7d3e-8a5b-0242ac120002"


def view(state: str = "running", epoch: int = 1, **members: Any) -> dict[str, Any]:
    return {"id": ID, "state": state, "epoch": epoch, "links": None, **members}


def at(epoch: int, seq: int) -> Position:
    return Position(epoch, seq)


def joined(epoch: int = 1, seq: int = 0) -> Fold:
    fold = Fold()
    assert fold.snapshot(at(epoch, seq), view(epoch=epoch)) is not None
    return fold


def test_a_watch_starts_with_a_snapshot() -> None:
    event = Fold().snapshot(at(1, 4), view(), "00-trace")
    assert event is not None
    assert (event.kind, event.at, event.traceparent, event.last) == ("snapshot", (1, 4), "00-trace", False)


def test_events_patch_the_task_in_order() -> None:
    fold = joined()
    first = fold.event(at(1, 1), at(1, 0), "progress", {"progress": {"done": 1}})
    second = fold.event(at(1, 2), at(1, 1), "succeeded", {"state": "succeeded", "result": 7}, merged=3)
    assert isinstance(first, RunEvent)
    assert isinstance(second, RunEvent)
    assert first.view["progress"] == {"done": 1}
    assert "result" not in first.view
    assert (second.view["result"], second.merged, second.last, fold.over) == (7, 3, True, True)


def test_what_is_streamed_beside_the_task_does_not_patch_it() -> None:
    event = joined().event(at(1, 1), at(1, 0), "log", {"message": "hello", "state": "failed"})
    assert isinstance(event, RunEvent)
    assert (event.kind, event.view["state"]) == ("log", "running")


def test_a_kind_of_a_newer_server_is_passed_on() -> None:
    event = joined().event(at(1, 1), at(1, 0), "teleported", {"place": "x"})
    assert isinstance(event, RunEvent)
    assert event.kind == "teleported"


def test_a_copy_is_dropped() -> None:
    fold = joined(1, 5)
    assert fold.event(at(1, 5), at(1, 4), "progress", {}) is None
    assert fold.event(at(1, 3), at(1, 2), "progress", {}) is None


def test_another_predecessor_than_ours_means_loss() -> None:
    assert joined(1, 5).event(at(1, 7), at(1, 6), "progress", {}) is LOST


def test_an_event_before_any_snapshot_means_loss() -> None:
    assert Fold().event(at(1, 1), at(1, 0), "progress", {}) is LOST


def test_after_a_loss_it_resumes_where_it_was() -> None:
    fold = joined(1, 5)
    fold.event(at(1, 9), at(1, 8), "progress", {})
    assert fold.resume() == (1, 5)
    assert isinstance(fold.event(at(1, 6), at(1, 5), "progress", {}), RunEvent)


def test_an_older_snapshot_moves_the_chain_but_not_the_task() -> None:
    fold = joined(2, 5)
    assert fold.snapshot(at(2, 1), view(epoch=2, progress="old")) is None
    assert fold.at == (2, 5)
    assert fold.event(at(2, 2), at(2, 1), "progress", {"progress": "older"}) is None
    event = fold.event(at(2, 6), at(2, 2), "progress", {"progress": "new"})
    assert isinstance(event, RunEvent)
    assert event.view["progress"] == "new"


def test_a_snapshot_of_a_finished_task_is_its_terminal_event() -> None:
    fold = Fold()
    event = fold.snapshot(at(3, 1), view("failed", 3))
    assert event is not None
    assert (event.kind, event.last) == ("failed", True)
    assert fold.end(at(3, 1), view("failed", 3)) is None


def test_end_without_the_terminal_event_ends_the_watch() -> None:
    event = joined().end(at(1, 9), view("cancelled"))
    assert event is not None
    assert event.kind == "cancelled"


def test_nothing_follows_the_end() -> None:
    fold = Fold()
    fold.snapshot(at(1, 9), view("succeeded"))
    assert fold.event(at(2, 0), at(1, 9), "queued", {"state": "queued"}) is None
    assert fold.snapshot(at(2, 0), view("queued", 2)) is None


def test_links_stay_when_a_view_has_none() -> None:
    fold = Fold(links={"self": "/x"})
    event = fold.snapshot(at(1, 0), view())
    assert event is not None
    assert event.view["links"] == {"self": "/x"}


def test_a_poll_that_says_nothing_new_is_silent() -> None:
    fold = joined(1, 8)
    older = view(progress={"done": 1})
    assert fold.polled(older) is None
    assert fold.polled(older) is None
    newer = fold.polled(view(progress={"done": 2}))
    assert newer is not None
    assert (newer.kind, newer.at) == ("snapshot", (1, 8))


def test_in_another_outage_what_a_poll_shows_first_may_again_be_behind() -> None:
    fold = joined(1, 8)
    fold.polled(view(progress={"done": 1}))
    assert fold.polled(view(progress={"done": 2})) is not None
    assert fold.event(at(1, 9), at(1, 8), "progress", {"progress": {"done": 9}}) is not None
    assert fold.polled(view(progress={"done": 7})) is None
    assert fold.view == view(progress={"done": 9})
    assert fold.polled(view(progress={"done": 10})) is not None


def test_a_stream_that_came_back_and_said_nothing_hides_no_news() -> None:
    fold = joined(1, 8)
    assert fold.polled(view(progress={"done": 1})) is None
    fold.resume()
    assert fold.polled(view(progress={"done": 2})) is not None


def test_a_poll_shows_another_epoch_state_or_end_at_once() -> None:
    assert joined(1, 8).polled(view("queued", 2)) is not None
    assert joined(1, 8).polled(view("waiting", 1)) is not None
    event = joined(1, 8).polled(view("succeeded", 1))
    assert event is not None
    assert (event.kind, event.at) == ("succeeded", (1, 8))
    assert joined(2, 0).polled(view("queued", 1)) is None


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Position, str, dict[str, Any]]]:
    """Everything that happened to a task, its end last."""
    events: list[tuple[Position, str, dict[str, Any]]] = []
    for epoch in range(draw(st.integers(1, 3))):
        for seq in range(draw(st.integers(1, 6))):
            events.append((at(epoch, seq), "progress", {"progress": len(events)}))
    last = events[-1][0]
    return [*events, (at(last.epoch, last.seq + 1), "succeeded", {"state": "succeeded"})]


@given(histories(), st.lists(st.sampled_from(["deliver", "lose", "double", "reconnect", "snapshot"]), max_size=40))
def test_whatever_is_lost_or_doubled_nothing_is_shown_twice_and_the_end_is_the_truth(
    history: list[tuple[Position, str, dict[str, Any]]], line: list[str]
) -> None:
    fold = Fold()
    shown = [fold.snapshot(history[0][0], view(epoch=0, progress=0))]
    sent: Position | None = history[0][0]
    upcoming = 1
    # After the bad line a good one: what was lost shows, and everything comes again from where the client was.
    for what in [*line, *["deliver"] * (2 * len(history))]:
        if what == "snapshot":
            sent, _, patch = history[upcoming - 1]
            shown.append(fold.snapshot(sent, {**view(epoch=sent.epoch), **patch}))
            continue
        if what == "reconnect" or upcoming == len(history):
            sent = fold.resume()
            upcoming = 1 + next(i for i, (position, *_) in enumerate(history) if position == sent)
            continue
        position, kind, patch = history[upcoming]
        for _ in range({"deliver": 1, "lose": 0, "double": 2}[what]):
            outcome = fold.event(position, sent, kind, patch)
            if outcome is LOST:
                sent = fold.resume()
                upcoming = next(i for i, (known, *_) in enumerate(history) if known == sent)
                position = sent or position
                break
            shown.append(outcome if isinstance(outcome, RunEvent) else None)
        sent, upcoming = position, upcoming + 1
    positions = [event.at for event in shown if event is not None]
    assert positions == sorted(set(positions))
    assert fold.over
    assert fold.view is not None
    assert fold.view["state"] == "succeeded"


def test_the_tail_of_a_snapshot_comes_ahead_of_it_and_nothing_twice() -> None:
    fold = Fold(links={"self": "/x"})
    before = fold.streamed(at(1, 1), "log", {"message": "hello"}, view())
    snapshot = fold.snapshot(at(1, 4), view(), age=2.5)
    assert before is not None
    assert snapshot is not None
    assert (before.kind, before.at, before.data, before.view["links"]) == (
        "log", (1, 1), {"message": "hello"}, {"self": "/x"},
    )  # fmt: skip
    assert (snapshot.age, before.age) == (2.5, None)
    assert fold.streamed(at(1, 4), "log", {"message": "hello"}, view()) is None
    after = fold.streamed(at(1, 7), "log", {"message": "lost and found"}, view())
    assert after is not None
    assert fold.snapshot(at(1, 9), view()) is not None
