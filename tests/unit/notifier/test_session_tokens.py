"""What a client may watch with its token, and for how long."""

from typing import Any
from uuid import UUID

import pytest

from milepost.domain.feed_filter import Filter
from milepost.domain.grant import EVERYTHING, Grant
from milepost.runtime.auth import WATCH, Principal
from milepost_notifier.following import FORBIDDEN
from milepost_notifier.intents import Ignore, Listen, Lookup
from milepost_notifier.limits import Limits
from milepost_schemas.frames import CloseCode
from tests.unit.notifier.making import OTHER, TASK, Driven, event, view
from tests.unit.notifier.test_session import closed_with

MINE = Grant(task=TASK)
LABEL = Grant(label=("customer", "42"))
FEED = Grant(feed=True)
NARROW = Grant(feed=True, filter=Filter(type="t"))


def holder(grant: Grant = MINE, lasts: float | None = 900.0, tenant: str = "default") -> Principal:
    return Principal(tenant, WATCH, grant, None, lasts)


def greeted(grant: Grant = MINE, lasts: float | None = 900.0) -> Driven:
    driven = Driven(greeted=False)
    driven.tokens["mine"] = holder(grant, lasts)
    driven.send({"t": "hello", "token": "mine"})
    assert driven.frames()[0]["t"] == "welcome"
    return driven


def renew(driven: Driven, principal: Principal) -> None:
    driven.tokens["next"] = principal
    driven.send({"t": "hello", "token": "next"})


def whole(task: UUID, parent: UUID | None = None, **labels: str) -> dict[str, Any]:
    above = None if parent is None else str(parent)
    return {"id": str(task), "parent_id": above, "root_id": str(parent or task), "labels": labels, "state": "queued"}


class TestHello:
    def test_tells_how_long_the_token_lasts(self) -> None:
        driven = Driven(greeted=False)
        driven.tokens["mine"] = holder(lasts=61.26)
        driven.send({"t": "hello", "token": "mine"})
        assert driven.frames()[0]["expires"] == 61.3

    def test_with_an_expired_token_says_that_another_will_do(self) -> None:
        driven = Driven(greeted=False)
        driven.send({"t": "hello", "token": "expired"})
        assert closed_with(driven) == CloseCode.TOKEN_EXPIRED.code
        assert driven.frames() == []

    def test_with_a_key_that_may_not_read_is_forbidden(self) -> None:
        driven = Driven(greeted=False)
        driven.tokens["submitter"] = Principal("default", frozenset({"submit"}))
        driven.send({"t": "hello", "token": "submitter"})
        assert closed_with(driven) == CloseCode.FORBIDDEN.code


class TestExpiry:
    def test_is_announced_a_minute_before_and_then_closes(self) -> None:
        driven = greeted(lasts=62)
        driven.tick(1.5)
        assert driven.frames() == []
        driven.tick(0.5)
        assert driven.frames() == [{"t": "refresh", "in": 60.0}]
        for _ in range(4):
            driven.tick(14.9)
            driven.send({"t": "pong"})
        assert closed_with(driven) is None
        assert {frame["t"] for frame in driven.frames()} == {"ping"}
        driven.tick(0.4)
        assert closed_with(driven) == CloseCode.TOKEN_EXPIRED.code

    def test_of_a_short_token_is_announced_at_once(self) -> None:
        driven = greeted(lasts=5)
        driven.tick(0.5)
        assert driven.frames() == [{"t": "refresh", "in": 4.5}]

    def test_ends_what_is_watched(self) -> None:
        driven = greeted(lasts=5)
        driven.joined()
        driven.tick(5)
        assert driven.forgets() == [TASK]

    def test_never_comes_for_a_key(self) -> None:
        driven = Driven()
        for _ in range(400):
            driven.tick(10)
            driven.send({"t": "pong"})
        assert closed_with(driven) is None
        assert {frame["t"] for frame in driven.frames()} == {"ping"}


class TestRenewal:
    def test_is_welcomed_and_lasts_as_long_as_the_new_token(self) -> None:
        driven = greeted(lasts=10)
        driven.joined()
        driven.tick(0.5)
        driven.frames()
        renew(driven, holder(lasts=100))
        assert [frame["t"] for frame in driven.frames()] == ["welcome"]
        driven.tick(39.5)
        assert driven.frames()[-1]["t"] == "ping"
        driven.send({"t": "pong"})
        driven.tick(0.5)
        assert driven.frames() == [{"t": "refresh", "in": 60.0}]
        driven.event(event(1, 1))
        assert [frame["t"] for frame in driven.frames()] == ["ev"]

    @pytest.mark.parametrize(("token", "code"), [("wrong", CloseCode.BAD_TOKEN), ("expired", CloseCode.TOKEN_EXPIRED)])
    def test_with_a_token_that_is_not_good_closes(self, token: str, code: CloseCode) -> None:
        driven = greeted()
        driven.joined()
        driven.send({"t": "hello", "token": token})
        assert closed_with(driven) == code.code
        assert driven.forgets() == [TASK]

    def test_by_another_tenant_closes(self) -> None:
        driven = greeted()
        driven.joined()
        renew(driven, holder(tenant="other"))
        assert closed_with(driven) == CloseCode.FORBIDDEN.code
        assert driven.session.principal == holder()  # whose channels are left

    def test_ends_what_the_new_token_does_not_cover(self) -> None:
        driven = greeted()
        driven.joined()
        driven.event(event(1, 1))
        renew(driven, holder(FEED))
        frames = driven.frames()
        assert [frame["t"] for frame in frames] == ["welcome", "err"]
        assert frames[1]["code"] == "forbidden"
        assert driven.forgets() == [TASK]

    def test_ends_the_feed_if_the_new_token_does_not_cover_it(self) -> None:
        driven = greeted(FEED)
        driven.send({"t": "sub", "id": 4, "feed": "tasks"})
        assert driven.session.intents == [Listen()]
        driven.session.feed_on(None, reset=False)
        driven.frames()
        renew(driven, holder())
        assert [(frame["t"], frame.get("id")) for frame in driven.frames()] == [("welcome", None), ("err", 4)]
        assert driven.session.intents[-1] == Ignore()

    @pytest.mark.parametrize(("grant", "goes_on"), [(EVERYTHING, True), (FEED, True), (NARROW, True), (LABEL, False)])
    def test_ends_a_feed_only_if_the_new_token_covers_less_of_it(self, grant: Grant, goes_on: bool) -> None:
        driven = greeted(NARROW)
        driven.send({"t": "sub", "id": 4, "feed": "tasks"})
        assert driven.session.intents == [Listen(Filter(type="t"))]
        driven.frames()
        renew(driven, holder(grant))
        assert [frame["t"] for frame in driven.frames()] == ["welcome"] + ["err"] * (not goes_on)
        assert driven.session.has(4) is goes_on

    def test_holds_back_what_is_not_known_to_be_covered_until_it_is(self) -> None:
        driven = greeted(LABEL)
        driven.joined()
        renew(driven, holder())
        assert driven.frames()[0]["t"] == "welcome"  # covers it by its id: nothing to ask
        assert driven.lookups() == []
        renew(driven, holder(LABEL))
        driven.frames()
        driven.event(event(1, 1))
        assert driven.frames() == []
        [lookup] = driven.lookups()
        assert lookup.grant == LABEL
        driven.session.joined(lookup.join, view(1, 0), driven.now)
        assert [frame["at"] for frame in driven.frames()] == [[1, 1]]

    def test_ends_what_turns_out_not_to_be_covered(self) -> None:
        driven = greeted()
        driven.joined()
        renew(driven, holder(LABEL))
        driven.frames()
        [lookup] = driven.lookups()
        driven.session.refused(lookup.join, *FORBIDDEN)
        assert [frame["code"] for frame in driven.frames()] == ["forbidden"]
        assert driven.forgets() == [TASK]

    def test_lets_nothing_be_judged_by_the_token_of_before(self) -> None:
        driven = greeted(LABEL)
        driven.sub()
        [before] = driven.lookups()
        renew(driven, holder())
        [lookup] = driven.lookups()
        assert (lookup.task, lookup.grant, driven.session.wants(before.join)) == (TASK, None, False)
        driven.session.refused(before.join, *FORBIDDEN)
        driven.session.joined(lookup.join, view(1, 0), driven.now)
        assert [frame["t"] for frame in driven.frames()] == ["welcome", "snap"]

    def test_again_and_again_is_too_much(self) -> None:
        driven = greeted()
        for _ in range(Limits().renewals):
            renew(driven, holder())
        assert closed_with(driven) is None
        renew(driven, holder())
        assert closed_with(driven) == CloseCode.OVER_LIMIT.code

    def test_with_the_same_grant_changes_nothing(self) -> None:
        driven = greeted(LABEL)
        driven.joined()
        renew(driven, holder(LABEL))
        assert driven.lookups() == []


class TestSubscriptions:
    def test_of_the_token_s_own_task_need_no_proof(self) -> None:
        driven = greeted()
        driven.sub()
        assert [lookup.grant for lookup in driven.lookups()] == [None]

    def test_with_a_key_need_no_proof(self) -> None:
        driven = Driven()
        driven.sub()
        assert [lookup.grant for lookup in driven.lookups()] == [None]
        assert EVERYTHING.everything

    @pytest.mark.parametrize("grant", [MINE, LABEL], ids=["task", "label"])
    def test_of_another_task_have_to_be_proven(self, grant: Grant) -> None:
        driven = greeted(grant)
        driven.sub(task=OTHER)
        assert [lookup.grant for lookup in driven.lookups()] == [grant]

    def test_of_a_task_with_a_token_for_the_feed_are_forbidden(self) -> None:
        driven = greeted(FEED)
        driven.sub()
        assert [frame["code"] for frame in driven.frames()] == ["forbidden"]
        assert driven.lookups() == []

    def test_of_the_feed_with_a_token_for_a_task_are_forbidden(self) -> None:
        driven = greeted(MINE)
        driven.send({"t": "sub", "id": 1, "feed": "tasks", "filter": {"parent": str(MINE.task)}})
        assert [frame["code"] for frame in driven.frames()] == ["forbidden"]
        assert driven.session.intents == []

    @pytest.mark.parametrize(
        ("grant", "asked", "heard"),
        [
            (LABEL, {}, Filter(labels=(("customer", "42"),))),
            (LABEL, {"labels": {"a": "b"}}, Filter(labels=(("a", "b"), ("customer", "42")))),
            (LABEL, {"labels": {"customer": "43"}}, None),
            (NARROW, {}, Filter(type="t")),
            (NARROW, {"type": "t"}, Filter(type="t")),
            (NARROW, {"queue": "q"}, Filter(type="t", queue="q")),
            (NARROW, {"type": "u"}, None),
        ],
    )
    def test_of_the_feed_hear_no_more_than_the_token_covers(
        self, grant: Grant, asked: dict[str, Any], heard: Filter | None
    ) -> None:
        driven = greeted(grant)
        driven.send({"t": "sub", "id": 1, "feed": "tasks", "filter": asked})
        assert driven.session.intents == ([] if heard is None else [Listen(heard)])
        assert [frame["code"] for frame in driven.frames()] == ([] if heard is not None else ["forbidden"])

    def test_that_were_forbidden_leave_their_number_free(self) -> None:
        driven = greeted(FEED)
        driven.sub()
        driven.send({"t": "sub", "id": 1, "feed": "tasks"})
        assert [frame.get("code") for frame in driven.frames()] == ["forbidden"]

    @pytest.mark.parametrize(
        ("grant", "first", "shown"),
        [
            (MINE, whole(OTHER, parent=TASK), True),
            (MINE, whole(OTHER), False),
            (MINE, whole(OTHER, parent=UUID(int=9)), False),
            (LABEL, whole(OTHER, customer="42"), True),
            (LABEL, whole(OTHER, customer="43"), False),
        ],
    )
    def test_are_met_by_a_first_event_only_if_it_shows_that_they_are_covered(
        self, grant: Grant, first: dict[str, Any], shown: bool
    ) -> None:
        driven = greeted(grant)
        driven.sub(task=OTHER)
        driven.event(event(0, 0, "queued", first, task=OTHER, whole=True), task=OTHER)
        assert bool(driven.frames()) is shown
        if not shown:
            [lookup] = driven.lookups()
            assert isinstance(lookup, Lookup)
            driven.session.refused(lookup.join, *FORBIDDEN)
            assert [frame["t"] for frame in driven.frames()] == ["err"]
