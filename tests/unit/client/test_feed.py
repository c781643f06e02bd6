"""What a reader of the feed is given, whatever comes."""

from typing import Any
from uuid import UUID

import pytest

from milepost.client.feed import DROP_AFTER, LIVE, FeedEvent, FeedSubscription
from milepost.client.waiting import Link, Protocol
from milepost_schemas.feed import FeedFilter

TASK = UUID(int=1)


def _changes(count: int = 1) -> dict[str, Any]:
    return {
        "t": "changes",
        "changes": [{"task": str(TASK), "at": [0, n], "kind": "progress", "data": {}} for n in range(count)],
    }


async def _taken(subscription: FeedSubscription) -> list[FeedEvent | Link]:
    found = []
    while subscription.pending:
        found.append(await subscription.next())
    return found


def test_a_filter_is_asked_for_by_what_is_given() -> None:
    assert FeedSubscription(None).asks(afresh=True) == {"feed": "tasks"}
    assert FeedSubscription(FeedFilter(queue="mail")).asks(afresh=False) == {
        "feed": "tasks",
        "filter": {"queue": "mail"},
    }


async def test_only_the_first_live_is_no_reset() -> None:
    subscription = FeedSubscription(None)
    for _ in range(2):
        subscription.frame({"t": "live"})
        subscription.frame(_changes())
    subscription.frame({"t": "live"})
    assert await _taken(subscription) == [FeedEvent(LIVE, reset=True)]
    other = FeedSubscription(None)
    other.frame({"t": "live"})
    first, change = (other.frame(_changes()), await _taken(other))[1]
    assert first == FeedEvent(LIVE)
    assert isinstance(change, FeedEvent)
    assert change.task == TASK


async def test_a_reader_that_is_far_behind_is_told_to_read_its_list_again() -> None:
    subscription = FeedSubscription(None)
    subscription.frame({"t": "live"})
    subscription.frame(_changes(DROP_AFTER - 1))
    subscription.frame(_changes(5))
    assert await _taken(subscription) == [FeedEvent(LIVE, reset=True)]


async def test_a_reader_that_is_far_behind_hears_what_comes_after() -> None:
    subscription = FeedSubscription(None)
    subscription.frame(_changes(DROP_AFTER + 1))
    subscription.frame(_changes(2))
    assert [event.kind for event in await _taken(subscription) if isinstance(event, FeedEvent)] == [
        LIVE,
        "progress",
        "progress",
    ]


@pytest.mark.parametrize(
    "frame", [{"t": "changes"}, {"t": "changes", "changes": [{"task": "x"}]}, {"t": "changes", "changes": 3}]
)
def test_a_frame_that_cannot_be_read_is_not_taken(frame: dict[str, Any]) -> None:
    with pytest.raises(Protocol):
        FeedSubscription(None).frame(frame)
