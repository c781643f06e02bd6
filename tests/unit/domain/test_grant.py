"""What a grant covers."""

from typing import Any
from uuid import UUID

import pytest

from milepost.domain.feed_filter import ALL, Filter
from milepost.domain.grant import EVERYTHING, Grant

MINE, OTHER, ROOT, BETWEEN = (UUID(int=number) for number in range(1, 5))


def task(id_: UUID, parent: UUID | None = None, root: UUID | None = None, **labels: str) -> dict[str, Any]:
    above = None if parent is None else str(parent)
    return {"id": str(id_), "parent_id": above, "root_id": str(root or id_), "labels": labels}


def test_everything_covers_every_task_and_the_feed() -> None:
    assert EVERYTHING.covers(OTHER) is True
    assert EVERYTHING.covers_members({}) is True
    assert EVERYTHING.narrowed(ALL) == ALL
    assert EVERYTHING.descendants


def test_a_task_is_covered_by_its_id_alone() -> None:
    assert Grant(task=MINE).covers(MINE) is True
    assert Grant(task=MINE).covers(OTHER) is None
    assert Grant(task=MINE).narrowed(ALL) is None


@pytest.mark.parametrize(
    ("members", "covered"),
    [
        (task(MINE), True),
        (task(OTHER, parent=MINE, root=MINE), True),
        (task(OTHER, parent=MINE, root=ROOT), True),
        (task(OTHER, parent=BETWEEN, root=MINE), True),
        (task(OTHER), False),
        (task(OTHER, parent=ROOT, root=ROOT), False),
        (task(OTHER, parent=BETWEEN, root=ROOT), None),
        ({"id": str(OTHER)}, None),
        ({"id": str(OTHER), "parent_id": None}, None),
    ],
)
def test_a_task_covers_what_is_below_it(members: dict[str, Any], covered: bool | None) -> None:
    assert Grant(task=MINE).covers_members(members) is covered


@pytest.mark.parametrize(
    ("labels", "covered"),
    [({"customer": "42"}, True), ({"customer": "421"}, False), ({"customers": "42"}, False), ({}, False), (None, None)],
)
def test_a_label_covers_tasks_that_have_it_with_that_value(labels: Any, covered: bool | None) -> None:
    grant = Grant(label=("customer", "42"))
    assert grant.covers(MINE) is None
    assert grant.covers_members({"id": str(MINE), "labels": labels}) is covered
    assert not grant.descendants
    assert grant.narrowed(Filter(type="t")) == Filter(type="t", labels=(("customer", "42"),))


def test_the_feed_covers_no_task_by_itself() -> None:
    assert Grant(feed=True).covers(MINE) is False
    assert Grant(feed=True).covers_members(task(MINE)) is False
    assert Grant(feed=True).narrowed(ALL) == ALL
