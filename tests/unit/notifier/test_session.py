"""The session, sentence by sentence."""

import dataclasses
from typing import Any

import orjson
import pytest

from milepost.live import LiveEvent
from milepost_notifier.limits import Limits
from milepost_schemas.frames import CloseCode
from milepost_schemas.position import Position
from tests.unit.notifier.making import OTHER, TASK, Client, Driven, event, view


def closed_with(driven: Driven) -> int | None:
    return driven.session.closing[0] if driven.session.closing else None


class TestHello:
    def test_is_answered_with_a_welcome_that_tells_the_limits(self) -> None:
        driven = Driven(greeted=False)
        driven.send({"t": "hello", "token": "good"})
        assert driven.frames() == [{"t": "welcome", "session": "s1", "ping": 25.0, "max_subs": Limits().subs}]

    def test_that_does_not_come_in_time_closes(self) -> None:
        driven = Driven(greeted=False)
        driven.tick(4.9)
        assert closed_with(driven) is None
        driven.tick(0.1)
        assert closed_with(driven) == CloseCode.NO_HELLO.code

    def test_with_a_wrong_token_closes(self) -> None:
        driven = Driven(greeted=False)
        driven.send({"t": "hello", "token": "bad"})
        assert closed_with(driven) == CloseCode.BAD_TOKEN.code
        assert driven.frames() == []

    @pytest.mark.parametrize("frame", [{"t": "ping"}, {"t": "sub", "id": 1, "task": str(TASK)}])
    def test_has_to_be_the_first_frame(self, frame: dict[str, Any]) -> None:
        driven = Driven(greeted=False)
        driven.send(frame)
        assert closed_with(driven) == CloseCode.PROTOCOL_VIOLATION.code
        assert driven.lookups() == []


class TestViolations:
    @pytest.mark.parametrize(
        "message",
        [
            b"\x00",
            "",
            "nonsense",
            "[]",
            "null",
            '{"t":"dance"}',
            '{"id":1}',
            '{"t":"sub","id":-1,"task":"TASK"}',
            '{"t":"sub","id":1,"task":"me"}',
            '{"t":"sub","id":1,"task":"TASK","from":[1]}',
            '{"t":"sub","id":1,"task":"TASK","from":[-1,0]}',
            '{"t":"sub","id":1,"task":"TASK","from":[99999999999,0]}',
            '{"t":"sub","id":1,"task":"TASK","extra":1}',
            '{"t":"sub","id":1,"task":"TASK","tail":257}',
            '{"t":"sub","id":1,"task":"TASK","tail":-1}',
            '{"t":"sub","id":1,"feed":"tasks","tail":1}',
            "[" * 5000,
            '{"t":"hello","token":"' + "x" * 5000 + '"}',
        ],
    )
    def test_close_with_a_reason_that_fits_a_close_frame(self, message: str | bytes) -> None:
        driven = Driven()
        driven.send(message.replace("TASK", str(TASK)) if isinstance(message, str) else message)
        assert driven.session.closing is not None
        code, reason = driven.session.closing
        assert code == CloseCode.PROTOCOL_VIOLATION.code
        assert reason.startswith("protocol violation: ")
        assert len(reason.encode()) <= 123

    def test_are_the_last_thing_that_is_heard(self) -> None:
        driven = Driven()
        driven.joined()
        driven.send("nonsense")
        driven.sub(2, OTHER)
        driven.event(event(1, 1))
        assert driven.lookups() == []
        assert driven.frames() == []
        assert driven.forgets() == [TASK]


class TestJoin:
    def test_asks_for_the_task_and_sends_the_snapshot(self) -> None:
        driven = Driven()
        driven.sub()
        [lookup] = driven.lookups()
        assert (lookup.task, lookup.since, lookup.fresh) == (TASK, None, True)
        driven.session.joined(lookup.join, view(1, 4, {"state": "running"}), driven.now)
        assert driven.frames() == [{"t": "snap", "id": 1, "at": [1, 4], "task": {"state": "running"}}]

    def test_loses_nothing_that_happens_while_the_snapshot_is_read(self) -> None:
        driven = Driven()
        driven.sub()
        for seq in (3, 4, 5):
            driven.event(event(1, seq, "log"))
        driven.answer(view(1, 4))
        snap, after = driven.frames()
        assert snap["at"] == [1, 4]
        assert (after["at"], after["prev"]) == ([1, 5], [1, 4])

    def test_of_a_finished_task_gives_snap_and_end_and_frees_the_id(self) -> None:
        driven = Driven()
        driven.sub()
        driven.answer(view(2, 9, {"state": "succeeded"}, finished=True))
        snap, end = driven.frames()
        assert (snap["t"], end["t"], end["at"], end["task"]) == ("snap", "end", [2, 9], {"state": "succeeded"})
        assert driven.forgets() == [TASK]
        driven.sub()
        assert len(driven.lookups()) == 1

    def test_that_is_refused_says_why_and_leaves_the_connection(self) -> None:
        driven = Driven()
        driven.sub(7)
        [lookup] = driven.lookups()
        driven.session.refused(lookup.join, "not_found", "There is no such task.")
        assert driven.frames() == [{"t": "err", "id": 7, "code": "not_found", "message": "There is no such task."}]
        assert driven.session.closing is None
        assert driven.forgets() == [TASK]

    def test_with_an_id_in_use_is_refused_and_the_first_stays(self) -> None:
        driven = Driven()
        driven.joined()
        driven.sub(1, OTHER)
        assert driven.frames()[0]["code"] == "duplicate_sub"
        driven.event(event(1, 1))
        assert driven.frames()[0]["at"] == [1, 1]

    def test_beyond_the_limit_is_refused(self) -> None:
        driven = Driven(Limits(subs=2))
        for number in (1, 2, 3):
            driven.sub(number)
        assert [frame["code"] for frame in driven.frames()] == ["too_many_subs"]
        assert len(driven.lookups()) == 2

    def test_that_is_taken_back_before_the_answer_gets_none(self) -> None:
        driven = Driven()
        driven.sub()
        [lookup] = driven.lookups()
        driven.send({"t": "unsub", "id": 1})
        driven.sub()
        driven.session.joined(lookup.join, view(1, 1), driven.now)
        assert driven.frames() == []
        driven.answer(view(1, 2))
        assert driven.frames()[0]["at"] == [1, 2]

    def test_of_one_task_twice_keeps_two_chains(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1))
        driven.sub(2)
        driven.answer(view(1, 1))
        driven.event(event(1, 2))
        frames = driven.frames()
        assert [(f["id"], f["at"], f.get("prev")) for f in frames] == [
            (1, [1, 2], [1, 0]),
            (2, [1, 1], None),
            (2, [1, 2], [1, 1]),
        ]

    def test_that_takes_too_long_for_the_buffer_reads_again(self) -> None:
        driven = Driven(Limits(buffer=300))
        driven.sub()
        for seq in range(1, 10):
            driven.event(event(1, seq, "log"))
        driven.answer(view(1, 3))
        assert driven.frames()[0]["at"] == [1, 3]
        [again] = driven.lookups()
        assert again.since == Position(1, 3)
        history = [event(1, seq, "log") for seq in range(4, 10)]
        driven.session.joined(again.join, view(1, 9, history=history), driven.now)
        assert [frame["at"][1] for frame in driven.frames()] == [4, 5, 6, 7, 8, 9]


class TestResume:
    def test_replays_what_the_history_holds(self) -> None:
        driven = Driven()
        driven.sub(since=[1, 2])
        history = [event(1, 3, "step"), event(1, 4, "waiting")]
        driven.answer(view(1, 4, history=history))
        assert [(f["t"], f["at"], f["prev"]) for f in driven.frames()] == [
            ("ev", [1, 3], [1, 2]),
            ("ev", [1, 4], [1, 3]),
        ]

    def test_at_the_current_position_sends_nothing_until_something_happens(self) -> None:
        driven = Driven()
        driven.sub(since=[1, 4])
        driven.answer(view(1, 4))
        assert driven.frames() == []
        driven.event(event(1, 5))
        assert driven.frames()[0]["prev"] == [1, 4]

    @pytest.mark.parametrize(
        ("since", "history"),
        [
            ([1, 2], []),
            ([1, 2], [event(1, 4, "log")]),
            ([1, 2], [event(1, 3, "log")]),
            ([9, 9], []),
            ([0, 7], [event(1, 3), event(1, 4)]),
        ],
        ids=["nothing kept", "first is missing", "last is missing", "from the future", "unknown position"],
    )
    def test_that_cannot_be_unbroken_says_so_with_a_reset(self, since: list[int], history: list[LiveEvent]) -> None:
        driven = Driven()
        driven.sub(since=since)
        driven.answer(view(1, 4, history=history))
        [snap] = driven.frames()
        assert (snap["t"], snap["at"], snap["reset"]) == ("snap", [1, 4], True)
        driven.event(event(1, 5))
        assert driven.frames()[0]["prev"] == [1, 4]

    def test_of_a_task_that_finished_meanwhile_replays_the_end_too(self) -> None:
        driven = Driven()
        driven.sub(since=[1, 2])
        driven.answer(view(1, 3, finished=True, history=[event(1, 3, "failed")]))
        assert [frame["t"] for frame in driven.frames()] == ["ev", "end"]


class TestEvents:
    def test_that_are_not_newer_are_dropped(self) -> None:
        driven = Driven()
        driven.joined(1, 5)
        for position in ((1, 5), (1, 4), (0, 9)):
            driven.event(event(*position))
        assert driven.frames() == []

    def test_of_a_new_epoch_continue_the_chain(self) -> None:
        driven = Driven()
        driven.joined(1, 5)
        driven.event(event(2, 0, "started", prev=(1, 5)))
        assert driven.frames()[0]["prev"] == [1, 5]

    def test_that_show_a_loss_make_it_read_again_and_nothing_is_missed(self) -> None:
        driven = Driven()
        driven.joined(1, 1)
        driven.event(event(1, 3, "waiting"))
        assert driven.frames() == []
        history = [event(1, 2, "step"), event(1, 3, "waiting")]
        driven.answer(view(1, 3, history=history))
        assert [frame["at"] for frame in driven.frames()] == [[1, 2], [1, 3]]

    def test_after_redis_forgot_the_task_go_on_when_the_numbers_are_whole(self) -> None:
        driven = Driven()
        driven.joined(1, 1)
        driven.event(event(1, 2, prev=None))
        assert driven.frames()[0]["at"] == [1, 2]
        driven.event(event(1, 4, prev=None))
        assert len(driven.lookups()) == 1

    def test_that_end_the_task_are_followed_by_end(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1, "succeeded"))
        assert driven.lookups() == []
        ev, end = driven.frames()
        assert (ev["kind"], end["t"], end["at"]) == ("succeeded", "end", [1, 1])
        assert end["task"] == {"done": 0, "state": "succeeded", "epoch": 1}
        driven.event(event(1, 2))
        assert driven.frames() == []

    def test_that_end_a_task_of_which_not_all_is_known_lead_to_another_look(self) -> None:
        driven = Driven()
        driven.sub()
        driven.answer(dataclasses.replace(view(1, 0), complete=False))
        driven.event(event(1, 1, "succeeded"))
        driven.answer(view(1, 1, {"state": "succeeded"}, finished=True))
        _, ev, end = driven.frames()
        assert (ev["kind"], end["t"], end["task"]) == ("succeeded", "end", {"state": "succeeded"})
        driven.event(event(1, 2))
        assert driven.frames() == []

    def test_that_end_the_task_while_some_were_left_out_lead_to_another_look(self) -> None:
        driven = Driven(Limits(soft=500))
        driven.joined()
        driven.stall()
        for seq in range(1, 9):
            driven.event(event(1, seq, "log", {"line": "x" * 100}))
        driven.event(event(1, 9, "succeeded"))
        assert [lookup.fresh for lookup in driven.lookups()] == [False]
        assert driven.frames()[-1]["t"] == "ev"

    def test_that_hold_the_whole_task_answer_the_first_look(self) -> None:
        driven = Driven()
        driven.sub()
        driven.event(event(1, 1, "log", {"line": "before"}))
        driven.event(event(1, 2, "lease_lost", {"state": "queued", "result": 2**70}, whole=True))
        driven.event(event(1, 3))
        snap, ev = driven.frames()
        assert (snap["t"], snap["at"], snap["task"]["state"]) == ("snap", [1, 2], "queued")
        assert "reset" not in snap
        assert (ev["at"], ev["prev"]) == ([1, 3], [1, 2])
        [lookup] = driven.lookups()
        assert not driven.session.wants(lookup.join)
        driven.session.joined(lookup.join, view(1, 1), driven.now)
        assert driven.frames() == []

    def test_that_hold_the_whole_task_do_not_stand_for_what_a_client_missed(self) -> None:
        driven = Driven()
        driven.sub(since=[1, 0])
        driven.event(event(1, 2, "lease_lost", {"state": "queued"}, whole=True))
        assert driven.frames() == []
        missed = [event(1, 1, "log", {"line": "missed"}), event(1, 2, "lease_lost", {"state": "queued"})]
        driven.answer(view(1, 2, history=missed))
        assert [frame["kind"] for frame in driven.frames()] == ["log", "lease_lost"]

    def test_carry_the_traceparent_they_came_with(self) -> None:
        driven = Driven()
        driven.joined()
        one = event(1, 1, "started")
        one.trace = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
        driven.event(one)
        assert driven.frames()[0]["traceparent"].startswith("00-0123")

    def test_of_other_tasks_are_not_seen(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1, task=OTHER), OTHER)
        assert driven.frames() == []

    def test_a_snapshot_moved_forward_from_postgres_is_read(self) -> None:
        driven = Driven()
        driven.joined(1, 1)
        moved = event(1, 4, "waiting", prev=(1, 1))
        moved.kind = "seed"
        driven.event(moved)
        driven.answer(view(1, 4))
        [snap] = driven.frames()
        assert (snap["at"], snap["reset"]) == ([1, 4], True)


class TestUnsub:
    def test_drops_what_waits_and_forgets_the_task(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1))
        driven.send({"t": "unsub", "id": 1})
        driven.event(event(1, 2))
        assert driven.frames() == []
        assert driven.forgets() == [TASK]

    def test_of_an_unknown_id_is_nothing_to_complain_about(self) -> None:
        driven = Driven()
        driven.send({"t": "unsub", "id": 5})
        assert driven.frames() == []
        assert driven.session.closing is None


class TestPings:
    def test_of_the_client_are_answered(self) -> None:
        driven = Driven()
        driven.send({"t": "ping"})
        assert driven.frames() == [{"t": "pong"}]

    def test_of_the_server_come_every_25_seconds_while_they_are_answered(self) -> None:
        driven = Driven()
        for _ in range(4):
            driven.tick(25)
            assert driven.frames() == [{"t": "ping"}]
            driven.send({"t": "pong"})
        assert driven.session.closing is None

    def test_that_are_not_answered_close(self) -> None:
        driven = Driven()
        driven.tick(49.5)
        assert closed_with(driven) is None
        driven.tick(0.5)
        assert closed_with(driven) == CloseCode.NO_PONG.code


class TestDrain:
    def test_says_when_to_come_back_and_closes(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1))
        driven.session.drain(750)
        assert [frame["t"] for frame in driven.frames()] == ["ev", "bye"]
        assert closed_with(driven) == CloseCode.DRAINING.code


class TestCoalescing:
    def test_progress_takes_the_place_of_progress_that_waits(self) -> None:
        driven = Driven()
        driven.joined()
        for seq in range(1, 6):
            driven.event(event(1, seq))
        [frame] = driven.frames()
        assert (frame["at"], frame["prev"], frame["merged"]) == ([1, 5], [1, 0], 4)
        assert frame["data"]["progress"] == {"done": 5}

    def test_never_passes_a_lifecycle_event(self) -> None:
        driven = Driven()
        driven.joined()
        for one in (event(1, 1), event(1, 2), event(1, 3, "waiting"), event(1, 4), event(1, 5)):
            driven.event(one)
        assert [(f["at"], f["prev"], f.get("merged")) for f in driven.frames()] == [
            ([1, 2], [1, 0], 1),
            ([1, 3], [1, 2], None),
            ([1, 5], [1, 3], 1),
        ]

    def test_leaves_progress_that_says_more_than_progress(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1, data={"progress": {"done": 1}, "labels": {"a": "b"}}))
        driven.event(event(1, 2))
        client = Client()
        client.task, client.at = {}, (1, 0)
        for frame in driven.frames():
            client.take(frame)
        assert client.task == {"progress": {"done": 2}, "labels": {"a": "b"}, "epoch": 1}

    def test_does_not_touch_what_was_sent(self) -> None:
        driven = Driven()
        driven.joined()
        driven.event(event(1, 1))
        assert driven.frames()[0]["at"] == [1, 1]
        driven.event(event(1, 2))
        assert driven.frames()[0]["prev"] == [1, 1]


class TestSlowClients:
    def test_get_a_snapshot_instead_of_events_and_every_lifecycle_event(self) -> None:
        driven = Driven(Limits(soft=800))
        driven.joined()
        driven.stall()
        driven.event(event(1, 1, "waiting"))
        for seq in range(2, 12):
            driven.event(event(1, seq, "log", {"line": "x" * 100}))
        driven.event(event(1, 12, "queued"))
        first, lag, second = driven.frames()
        assert (first["kind"], second["kind"], second["prev"]) == ("waiting", "queued", [1, 1])
        assert lag == {"t": "lag", "on": True}
        driven.tick(1)
        assert driven.frames() == [{"t": "lag", "on": False}]
        [lookup] = driven.lookups()
        driven.session.joined(lookup.join, view(1, 13), driven.now)
        [snap] = driven.frames()
        assert (snap["at"], snap["reset"]) == ([1, 13], True)
        driven.event(event(1, 14))
        assert driven.frames()[0]["prev"] == [1, 13]

    def test_get_no_more_than_one_snapshot_a_second(self) -> None:
        driven = Driven(Limits(soft=800))
        driven.joined()
        driven.stall()
        looked = 0
        seq = 0
        for _ in range(10):
            driven.stall()
            for _ in range(10):
                seq += 1
                driven.event(event(1, seq, "log", {"line": "x" * 100}, prev=(1, seq - 1)))
            driven.frames()
            driven.tick(0.5)
            for lookup in driven.lookups():
                looked += 1
                driven.session.joined(lookup.join, view(1, seq), driven.now)
                driven.frames()
        assert 1 <= looked <= 5

    def test_are_closed_when_they_stay_over_the_hard_limit(self) -> None:
        driven = Driven(Limits(soft=200, hard=400))
        driven.joined()
        driven.stall()
        for seq in range(1, 10):
            driven.event(event(1, seq, "waiting"))
        driven.tick(19.5)
        assert closed_with(driven) is None
        driven.tick(0.5)
        assert closed_with(driven) == CloseCode.TOO_SLOW.code

    def test_are_spared_when_they_catch_up_in_time(self) -> None:
        driven = Driven(Limits(soft=200, hard=400))
        driven.joined()
        driven.stall()
        for seq in range(1, 10):
            driven.event(event(1, seq, "waiting"))
        driven.tick(15)
        driven.frames()
        driven.tick(9)
        assert closed_with(driven) is None

    def test_cannot_hold_more_than_the_cap(self) -> None:
        driven = Driven(Limits(soft=200, hard=400, cap=2000))
        driven.stall()
        for _ in range(300):
            driven.send({"t": "ping"})
        assert closed_with(driven) == CloseCode.TOO_SLOW.code
        assert driven.session.outbox.size == 0

    def test_are_told_the_end(self) -> None:
        driven = Driven(Limits(soft=300, hard=10_000))
        driven.joined()
        driven.stall()
        for seq in range(1, 8):
            driven.event(event(1, seq, "output", {"chunk": "x" * 100}))
        driven.event(event(1, 8, "succeeded"))
        driven.answer(view(1, 8, {"state": "succeeded"}, finished=True))
        client = Client()
        client.task, client.at = {}, (1, 0)
        for frame in driven.frames():
            client.take(frame)
        assert client.ended
        assert client.task == {"state": "succeeded"}

    def test_are_not_those_who_get_much_at_once(self) -> None:
        driven = Driven(Limits(soft=800))
        driven.joined()
        driven.event(event(1, 1, "output", {"chunk": "x" * 5000}))
        assert len(driven.frames()) == 1
        assert not driven.session.lagging

    def test_keep_an_unbroken_chain_over_events_left_out(self) -> None:
        driven = Driven(Limits(soft=800))
        driven.joined()
        driven.stall()
        for one in (event(1, 1, "log"), event(1, 2), event(1, 3, "waiting"), event(1, 4, "log")):
            driven.event(one)
        driven.event(event(1, 5, "log", {"line": "x" * 800}))
        driven.event(event(1, 6, "queued"))
        told = [(frame["at"], frame["prev"]) for frame in driven.frames() if frame["t"] == "ev"]
        assert told == [([1, 3], [1, 0]), ([1, 6], [1, 3])]

    def test_events_left_out_before_a_snapshot_do_not_move_the_client_back(self) -> None:
        driven = Driven(Limits(soft=700))
        driven.joined()
        driven.stall()
        driven.event(event(1, 1, "log"))
        driven.session.resync(TASK, Position(1, 4), finished=False)
        driven.answer(view(1, 4))
        driven.sub(2, OTHER)
        for seq in range(5, 9):
            driven.event(event(1, seq, "log", {"line": "x" * 150}))
        driven.event(event(1, 9, "waiting"))
        client = Client()
        client.task, client.at = {}, (1, 0)
        for frame in driven.frames():
            client.take(frame)
        assert client.at == (1, 9)


class TestAudit:
    def test_leaves_alone_who_is_up_to_date(self) -> None:
        driven = Driven()
        driven.joined(1, 3)
        driven.session.resync(TASK, Position(1, 3), finished=False)
        assert driven.lookups() == []

    def test_catches_up_by_events_where_it_can(self) -> None:
        driven = Driven()
        driven.joined(1, 3)
        driven.session.resync(TASK, Position(1, 5), finished=False)
        [lookup] = driven.lookups()
        assert lookup.since == Position(1, 3)
        history = [event(1, 4), event(1, 5)]
        driven.session.joined(lookup.join, view(1, 5, history=history), driven.now)
        assert [(f["t"], f["at"]) for f in driven.frames()] == [("ev", [1, 5])]

    def test_ends_a_subscription_whose_terminal_event_was_lost(self) -> None:
        driven = Driven()
        driven.joined(1, 3)
        driven.session.resync(TASK, Position(1, 9), finished=True)
        driven.answer(view(1, 9, {"state": "failed"}, finished=True))
        snap, end = driven.frames()
        assert (snap["reset"], end["t"], end["task"]["state"]) == (True, "end", "failed")

    def test_ends_a_run_that_is_over_even_if_its_last_events_were_further_than_postgres_knows(self) -> None:
        driven = Driven()
        driven.joined(1, 7)
        driven.session.resync(TASK, Position(1, 5), finished=True)
        driven.answer(view(1, 5, {"state": "failed"}, finished=True))
        [end] = driven.frames()
        assert (end["t"], end["at"]) == ("end", [1, 7])

    def test_does_not_take_the_client_back(self) -> None:
        driven = Driven()
        driven.joined(3, 7)
        driven.session.resync(TASK, Position(1, 5), finished=True, force=True)
        driven.answer(view(1, 5, {"state": "failed"}, finished=True))
        assert driven.frames() == []

    def test_waits_for_a_look_up_that_is_under_way_and_then_looks_again(self) -> None:
        driven = Driven()
        driven.sub()
        [first] = driven.lookups()
        driven.session.resync(TASK, Position(1, 5), finished=False, force=True)
        assert driven.lookups() == []
        driven.session.joined(first.join, view(1, 5, {"stale": 1}), driven.now)
        driven.answer(view(1, 5, {"stale": 0}))
        assert [frame["task"] for frame in driven.frames()] == [{"stale": 1}, {"stale": 0}]


def test_a_lost_connection_forgets_every_task() -> None:
    driven = Driven()
    driven.sub(1, TASK)
    driven.sub(2, OTHER)
    driven.session.lost()
    assert set(driven.forgets()) == {TASK, OTHER}


def test_frames_are_spliced_json_with_text_of_any_kind() -> None:
    driven = Driven()
    driven.joined()
    data = {"line": 'quote " newline \n snowman ☃ \u2028', "n": 2**70}
    driven.event(event(1, 1, "log", data))
    [frame] = driven.session.outbox.take(1)
    assert orjson.loads(frame)["data"]["line"] == data["line"]


def line(epoch: int, seq: int, message: str = "") -> bytes:
    return orjson.dumps({"at": [epoch, seq], "kind": "log", "data": {"message": message}})


class TestTail:
    def test_goes_with_the_snapshot_as_long_as_it_was_asked_for(self) -> None:
        driven = Driven()
        driven.sub(tail=2)
        [lookup] = driven.lookups()
        assert lookup.tail == 2
        found = dataclasses.replace(view(1, 5), tail=tuple(line(1, seq) for seq in (2, 3, 5)))
        driven.session.joined(lookup.join, found, driven.now)
        [snap] = driven.frames()
        assert [each["at"] for each in snap["tail"]] == [[1, 3], [1, 5]]

    def test_is_not_there_unless_asked_for(self) -> None:
        driven = Driven()
        driven.sub(tail=0)
        driven.answer(dataclasses.replace(view(1, 5), tail=(line(1, 2),)))
        [snap] = driven.frames()
        assert "tail" not in snap

    def test_is_empty_where_nothing_was_streamed(self) -> None:
        driven = Driven()
        driven.sub(tail=5)
        driven.answer(view(1, 5))
        assert driven.frames()[0]["tail"] == []

    def test_goes_with_a_reset_too(self) -> None:
        driven = Driven()
        driven.sub(since=[1, 0], tail=5)
        driven.answer(dataclasses.replace(view(1, 500), tail=(line(1, 499),)))
        [snap] = driven.frames()
        assert snap["reset"] is True
        assert [each["at"] for each in snap["tail"]] == [[1, 499]]

    def test_is_no_longer_than_the_limit_allows(self) -> None:
        driven = Driven(Limits(tail=250))
        driven.sub(tail=256)
        driven.answer(dataclasses.replace(view(1, 9), tail=tuple(line(1, seq, "x" * 50) for seq in range(9))))
        assert [each["at"] for each in driven.frames()[0]["tail"]] == [[1, 7], [1, 8]]

    def test_is_waited_for_where_a_whole_event_would_answer_otherwise(self) -> None:
        driven = Driven()
        driven.sub(tail=5)
        driven.event(event(2, 0, "started", {"state": "running"}, whole=True))
        assert driven.frames() == []
        driven.answer(dataclasses.replace(view(2, 0), tail=(line(1, 3),)))
        assert driven.frames()[0]["tail"] == [{"at": [1, 3], "kind": "log", "data": {"message": ""}}]


class TestAge:
    def test_goes_with_the_snapshot_where_it_is_known(self) -> None:
        driven = Driven()
        driven.sub()
        driven.answer(dataclasses.replace(view(1, 5), age=12.34))
        driven.sub(2)
        driven.answer(view(1, 5))
        known, unknown = driven.frames()
        assert known["age"] == 12.3
        assert "age" not in unknown
