"""How far a tree has come, in one number and four counts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.client import Rollup, rollup


def task(
    id_: str, parent: str | None = None, state: str = "running", done: Any = None, total: Any = None
) -> dict[str, Any]:
    progress = None if done is None else {"done": done, "total": total}
    return {"id": id_, "parent_id": parent, "state": state, "progress": progress}


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(None, None, 0), (5, None, 0), (5, 10, 0.5), (-1, 10, 0), (30, 10, 1), (5, 0, 0)]
)
def test_a_task_alone_is_as_far_as_it_says(done: Any, total: Any, fraction: float) -> None:
    assert rollup([task("a", done=done, total=total)], "a") == Rollup(fraction, 1, 1, 0, 0)


def test_children_count_alike_and_own_progress_is_one_more() -> None:
    views = [task("a"), task("b", "a", done=1, total=2), task("c", "a", "queued"), task("d", "c", "failed")]
    assert rollup(views, "a") == Rollup((0.5 + 1.0) / 2, 4, 2, 1, 1)
    views[0] = task("a", done=0, total=10)
    assert rollup(views, "a").fraction == 0.5


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_is_over_is_all_done_whatever_is_below(state: str) -> None:
    assert rollup([task("a", state=state), task("b", "a")], "a").fraction == 1


def test_what_is_not_below_the_task_does_not_count() -> None:
    assert rollup([task("a"), task("b", "a"), task("x", "y"), task("y")], "b").tasks == 1
    assert rollup([task("x")], "a") == Rollup()


def test_a_chain_may_be_long() -> None:
    chain = [task("0")] + [task(str(n), str(n - 1)) for n in range(1, 5000)] + [task("z", "4999", done=1, total=4)]
    assert rollup(chain, "0") == Rollup(0.25, 5001, 5001, 0, 0)


@given(parents=st.lists(st.integers(0, 20), max_size=20), over=st.sets(st.integers(0, 20)))
def test_it_is_always_between_nothing_and_all(parents: list[int], over: set[int]) -> None:
    views = [task("0")] + [
        task(str(n), str(parent % n), "succeeded" if n in over else "running", n, 10)
        for n, parent in enumerate(parents, start=1)
    ]
    found = rollup(views, "0")
    assert found.tasks == len(views)
    assert 0 <= found.fraction <= 1
