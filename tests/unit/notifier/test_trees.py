"""Trees of tasks, sentence by sentence."""

from typing import Any
from uuid import UUID

from milepost.domain.grant import EVERYTHING, Grant
from milepost.live import LiveEvent
from milepost_notifier.following import FORBIDDEN, OVER_ASKED
from milepost_notifier.limits import Limits
from milepost_schemas.position import Position
from tests.unit.notifier.making import OTHER, TASK, Driven, TreeClient, event, view

CHILD = OTHER
GRANDCHILD = UUID("01890000-0000-7000-8000-000000000003")


def members(task: UUID, parent: UUID | None = TASK, **more: Any) -> dict[str, Any]:
    above = None if parent is None else str(parent)
    return {"id": str(task), "parent_id": above, "root_id": str(TASK), "state": "queued", **more}


def first(task: UUID = CHILD, epoch: int = 0, *, prev: Any = None, **more: Any) -> LiveEvent:
    """Return the event that holds a new child whole."""
    return event(epoch, 0, "queued", members(task, **more), task=task, whole=True, prev=prev)


def tell(driven: Driven, one: LiveEvent, child: UUID = CHILD, parent: UUID = TASK) -> None:
    driven.session.child(parent, child, one, driven.now)


def answered(driven: Driven, *found: UUID, epoch: int = 1) -> None:
    """Answer every question for children the same."""
    for question in driven.descends():
        children = [(task, Position(epoch, 0)) for task in found]
        driven.session.children(question.question, children, driven.now)


def watching(limits: Limits | None = None) -> Driven:
    """A tree without children yet, live at 1/0."""
    driven = Driven(limits)
    driven.sub()
    driven.answer(view(1, 0, members(TASK, None)))
    answered(driven)
    driven.frames()
    return driven


class TestMembers:
    def test_that_are_there_come_after_the_task_itself(self) -> None:
        driven = Driven()
        driven.sub()
        assert driven.descends() == []
        driven.answer(view(1, 0, members(TASK, None)))
        answered(driven, CHILD)
        [lookup] = driven.lookups()
        assert (lookup.task, lookup.since, lookup.fresh) == (CHILD, None, True)
        driven.session.joined(lookup.join, view(2, 5, members(CHILD)), driven.now)
        root, child = driven.frames()
        assert (root["t"], root["task"]["id"]) == ("snap", str(TASK))
        assert (child["t"], child["id"], child["at"], child["task"]["id"]) == ("snap", 1, [2, 5], str(CHILD))
        assert "reset" not in child

    def test_are_descended_from_in_their_turn(self) -> None:
        driven = watching()
        driven.session.descend()
        answered(driven, CHILD)
        driven.answer(view(1, 0, members(CHILD)))
        assert [question.task for question in driven.descends()] == [CHILD]

    def test_that_are_new_come_with_their_first_event(self) -> None:
        driven = watching()
        tell(driven, first())
        [told] = driven.frames()
        assert (told["task"], told["at"], told["prev"], told["data"]["id"]) == (str(CHILD), [0, 0], None, str(CHILD))
        [lookup] = driven.lookups()
        assert (lookup.task, lookup.since) == (CHILD, (0, 0))

    def test_have_a_chain_of_their_own(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.answer(view(0, 0))
        driven.frames()
        driven.event(event(1, 0, "started", task=CHILD, prev=(0, 0)), CHILD)
        driven.event(event(1, 1))
        child, root = driven.frames()
        assert (child["task"], child["prev"]) == (str(CHILD), [0, 0])
        assert (root["task"], root["prev"]) == (str(TASK), [1, 0])

    def test_lose_nothing_between_their_first_event_and_their_channel(self) -> None:
        driven = watching()
        tell(driven, first())
        history = [event(1, 0, "started", task=CHILD, prev=(0, 0)), event(1, 1, "log", {"line": "x"}, task=CHILD)]
        driven.answer(view(1, 1, history=history))
        assert [frame["at"] for frame in driven.frames()] == [[0, 0], [1, 0], [1, 1]]

    def test_are_told_of_once_however_often_they_are_announced_or_found(self) -> None:
        driven = watching()
        tell(driven, first())
        tell(driven, first())
        driven.session.descend()
        answered(driven, CHILD, TASK)
        assert len(driven.frames()) == len(driven.lookups()) == 1

    def test_end_with_their_last_event_and_are_not_looked_at_any_more(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.answer(view(0, 0))
        driven.event(event(1, 1, "succeeded", merged=1, task=CHILD, prev=(0, 0)), CHILD)
        assert [frame["t"] for frame in driven.frames()] == ["ev", "ev"]
        assert driven.forgets() == [CHILD]
        driven.session.descend()
        answered(driven, CHILD)
        assert driven.lookups() == []

    def test_that_begin_anew_go_on_where_they_ended(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.answer(view(0, 0))
        driven.event(event(1, 1, "failed", merged=1, task=CHILD, prev=(0, 0)), CHILD)
        tell(driven, first(epoch=2, prev=(1, 1)))
        client = TreeClient()
        client.take({"t": "snap", "task": members(TASK, None), "at": [1, 0]})
        for frame in driven.frames():
            client.take(frame)
        assert client.members[str(CHILD)].at == (2, 0)

    def test_that_begin_anew_while_they_are_looked_up_go_on(self) -> None:
        driven = watching()
        tell(driven, first())
        [lookup] = driven.lookups()
        over = {**members(CHILD), "state": "failed"}
        driven.event(first(epoch=2, prev=(1, 1)), CHILD)
        driven.session.joined(lookup.join, view(1, 1, over, finished=True), driven.now)
        assert [(frame["t"], frame["at"]) for frame in driven.frames()] == [
            ("ev", [0, 0]), ("snap", [1, 1]), ("ev", [2, 0]),
        ]  # fmt: skip
        driven.event(event(2, 1, task=CHILD), CHILD)
        assert [frame["at"] for frame in driven.frames()] == [[2, 1]]

    def test_that_are_over_are_looked_at_again_if_more_was_heard_than_could_be_kept(self) -> None:
        driven = watching(Limits(buffer=300))
        tell(driven, first())
        [lookup] = driven.lookups()
        for seq in (1, 2):
            driven.event(event(1, seq, "log", {"line": "x" * 100}, task=CHILD), CHILD)
        driven.session.joined(lookup.join, view(1, 3, {**members(CHILD), "state": "failed"}, finished=True), driven.now)
        assert [(again.task, again.since) for again in driven.lookups()] == [(CHILD, (1, 3))]

    def test_that_began_anew_unheard_are_found_by_a_later_question(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.answer(view(1, 2, {**members(CHILD), "state": "failed"}, finished=True))
        driven.frames()
        driven.session.descend()
        answered(driven, CHILD, epoch=2)
        [lookup] = driven.lookups()
        assert (lookup.task, lookup.since) == (CHILD, (1, 2))

    def test_that_are_over_at_once_may_have_children(self) -> None:
        driven = watching()
        whole = {**members(CHILD), "state": "succeeded"}
        tell(driven, event(1, 2, "succeeded", whole, task=CHILD, whole=True, merged=2, prev=None))
        assert [frame["kind"] for frame in driven.frames()] == ["succeeded"]
        assert driven.lookups() == []
        answered(driven, GRANDCHILD)
        assert [lookup.task for lookup in driven.lookups()] == [GRANDCHILD]

    def test_are_asked_for_children_when_they_end(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.answer(view(0, 0))
        answered(driven)
        driven.event(event(1, 1, "succeeded", merged=1, task=CHILD, prev=(0, 0)), CHILD)
        assert [question.task for question in driven.descends()] == [CHILD]

    def test_that_are_over_may_still_get_children(self) -> None:
        driven = watching(Limits(members=OVER_ASKED + 2))
        over = [UUID(int=number) for number in range(1, OVER_ASKED + 2)]
        for task in over:
            whole = {**members(task), "state": "succeeded"}
            tell(driven, event(1, 2, "succeeded", whole, task=task, whole=True, merged=2, prev=None), task)
        answered(driven)
        asked: set[UUID] = set()
        for _ in range(2):
            driven.session.descend()
            questions = driven.descends()
            assert len(questions) == 1 + OVER_ASKED
            asked |= {question.task for question in questions}
            for question in questions:
                driven.session.children(question.question, [], driven.now)
        assert asked == {TASK, *over}
        driven.session.descend()
        for question in driven.descends():
            found = [(GRANDCHILD, Position(0, 0))] if question.task in over else []
            driven.session.children(question.question, found, driven.now)
        assert [lookup.task for lookup in driven.lookups()] == [GRANDCHILD]

    def test_that_cannot_be_read_are_left_out_without_a_word(self) -> None:
        driven = watching()
        driven.session.descend()
        answered(driven, CHILD)
        [lookup] = driven.lookups()
        driven.session.refused(lookup.join, "not_found", "")
        assert driven.frames() == []
        driven.session.descend()
        answered(driven, CHILD)
        assert [lookup.task for lookup in driven.lookups()] == [CHILD]

    def test_whose_end_came_while_events_were_left_out_are_shown_whole(self) -> None:
        driven = watching(Limits(soft=600))
        tell(driven, first())
        driven.answer(view(0, 0))
        driven.stall()
        for seq in range(1, 9):
            driven.event(event(0, seq, "log", {"line": "x" * 200}, task=CHILD), CHILD)
        driven.event(event(0, 9, "cancelled", task=CHILD), CHILD)
        over = {**members(CHILD), "state": "cancelled"}
        driven.answer(view(0, 9, over, finished=True))
        snap = driven.frames()[-1]
        assert (snap["t"], snap["task"], snap["reset"]) == ("snap", over, True)


class TestTrees:
    def test_end_with_their_root(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.lookups()
        driven.event(event(1, 1, "succeeded"))
        assert [frame["t"] for frame in driven.frames()] == ["ev", "ev", "end"]
        assert set(driven.forgets()) == {TASK, CHILD}
        tell(driven, first(GRANDCHILD), GRANDCHILD)
        assert driven.frames() == []

    def test_end_with_unsub_and_take_what_was_queued_with_them(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.send({"t": "unsub", "id": 1})
        assert driven.frames() == []
        assert set(driven.forgets()) == {TASK, CHILD}

    def test_are_left_out_if_the_client_wants_the_task_alone(self) -> None:
        driven = Driven()
        driven.send({"t": "sub", "id": 1, "task": str(TASK), "tree": False})
        driven.answer(view(1, 0))
        driven.frames()
        tell(driven, first())
        driven.session.descend()
        assert driven.descends() == []
        assert driven.frames() == []

    def test_wait_for_the_task_itself(self) -> None:
        driven = Driven()
        driven.sub()
        tell(driven, first())
        assert driven.frames() == []

    def test_say_once_that_there_are_too_many(self) -> None:
        driven = watching(Limits(members=1))
        tell(driven, first())
        driven.frames()
        for _ in range(2):
            tell(driven, first(GRANDCHILD), GRANDCHILD)
        [error] = driven.frames()
        assert (error["id"], error["code"]) == (1, "too_many_children")
        driven.event(event(1, 1))
        assert driven.frames()[0]["at"] == [1, 1]

    def test_share_what_one_connection_may_have(self) -> None:
        driven = watching(Limits(all_members=1))
        tell(driven, first())
        driven.sub(2, GRANDCHILD)
        driven.session.joined(driven.lookups()[-1].join, view(1, 0, members(GRANDCHILD)), driven.now)
        answered(driven, UUID(int=7))
        assert driven.frames()[-1]["code"] == "too_many_children"
        driven.send({"t": "unsub", "id": 1})
        driven.session.descend()
        answered(driven, UUID(int=7))
        assert [lookup.task for lookup in driven.lookups()] == [UUID(int=7)]

    def test_may_be_asked_for_twice_by_one_client(self) -> None:
        driven = watching()
        driven.sub(2)
        driven.answer(view(1, 0, members(TASK, None)))
        driven.frames()
        tell(driven, first())
        assert [frame["id"] for frame in driven.frames()] == [1, 2]
        driven.send({"t": "unsub", "id": 1})
        assert driven.forgets() == []

    def test_ask_again_for_what_nobody_answered(self) -> None:
        driven = Driven()
        driven.sub()
        driven.answer(view(1, 0, members(TASK, None)))
        assert len(driven.descends()) == 1
        driven.session.descend()
        answered(driven, CHILD)
        assert [lookup.task for lookup in driven.lookups()] == [CHILD]

    def test_ask_no_more_the_longer_nobody_answers(self) -> None:
        driven = watching()
        tell(driven, first())
        driven.answer(view(0, 0))
        for _ in range(3):
            driven.session.descend()
            assert sorted(question.task for question in driven.descends()[-2:]) == [TASK, CHILD]
        driven.session.descend()
        assert len(driven.descends()) == 2


class TestGrants:
    def test_of_a_task_cover_what_is_below_it(self) -> None:
        driven = Driven()
        driven.session._following.allow(Grant(task=TASK))
        driven.sub()
        driven.answer(view(1, 0, members(TASK, None)))
        driven.frames()
        tell(driven, first())
        assert driven.frames()[0]["task"] == str(CHILD)

    def test_that_cover_more_than_before_show_what_was_hidden(self) -> None:
        driven = Driven()
        driven.session._following.allow(Grant(label=("team", "a")))
        driven.sub()
        driven.answer(view(1, 0, members(TASK, None)))
        tell(driven, first())
        [lookup] = driven.lookups()
        driven.session.refused(lookup.join, *FORBIDDEN)
        driven.descends()
        driven.frames()
        driven.session._following.allow(Grant(label=("team", "b")))
        root, again = driven.lookups()
        assert (root.task, again.task, again.since, again.fresh) == (TASK, CHILD, None, True)
        driven.session.joined(root.join, view(1, 0, members(TASK, None)), driven.now)
        driven.session.refused(again.join, *FORBIDDEN)
        assert driven.frames() == []
        driven.session._following.allow(EVERYTHING)
        [shown] = driven.lookups()
        assert (shown.task, shown.grant) == (CHILD, None)
        driven.session.joined(shown.join, view(1, 4, members(CHILD)), driven.now)
        [snap] = driven.frames()
        assert (snap["t"], snap["task"]["id"], "reset" in snap) == ("snap", str(CHILD), False)
        assert [question.task for question in driven.descends()] == [CHILD]

    def test_of_a_label_show_only_members_that_have_it(self) -> None:
        driven = Driven()
        driven.session._following.allow(Grant(label=("team", "a")))
        driven.sub()
        driven.answer(view(1, 0, members(TASK, None)))
        driven.frames()
        tell(driven, first())
        assert driven.frames() == []
        [lookup] = driven.lookups()
        assert lookup.grant is not None
        driven.session.refused(lookup.join, "forbidden", "")
        assert driven.frames() == []
        driven.session.descend()
        answered(driven, CHILD, epoch=5)
        assert driven.lookups() == []


def test_lag_is_said_when_it_begins_and_when_it_is_over() -> None:
    driven = watching(Limits(soft=600))
    driven.stall()
    for seq in range(1, 9):
        driven.event(event(1, seq, "log", {"line": "x" * 200}))
    driven.stall()
    assert driven.frames() == [{"t": "lag", "on": True}]
    driven.tick(2)
    assert driven.frames()[0] == {"t": "lag", "on": False}
