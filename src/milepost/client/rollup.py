"""How far a task and all below it have come. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from milepost.client.events import is_over


@dataclass(frozen=True, slots=True)
class Rollup:
    """A tree in numbers; the task itself is one of its `tasks`."""

    fraction: float = 0.0
    """0 to 1."""
    tasks: int = 0
    running: int = 0
    ended: int = 0
    failed: int = 0


def rollup(views: Iterable[Mapping[str, Any]], root: str) -> Rollup:
    """Sum up the tree below the task `root` among tasks as the API shows them.

    A task that is over counts 1; one without children `done / total`, 0 if it says no total; one with children the
    mean of theirs, its own progress being one more if it has a total.
    """
    by_id = {view["id"]: view for view in views}
    below: dict[str, list[str]] = {}
    for id_, view in by_id.items():
        if id_ != root and view.get("parent_id") is not None:
            below.setdefault(view["parent_id"], []).append(id_)
    found = [root] if root in by_id else []
    for id_ in found:  # it grows: parents come before their children
        found += below.get(id_, ())
    fractions: dict[str, float] = {}
    for id_ in reversed(found):
        own = _own(by_id[id_])
        parts = [fractions[child] for child in below.get(id_, ())] + ([] if own is None else [own])
        fractions[id_] = 1.0 if is_over(by_id[id_]) else sum(parts) / len(parts) if parts else 0.0
    states = [by_id[id_].get("state") for id_ in found]
    return Rollup(
        fraction=fractions.get(root, 0.0),
        tasks=len(found),
        running=states.count("running"),
        ended=sum(is_over(by_id[id_]) for id_ in found),
        failed=states.count("failed"),
    )


def _own(view: Mapping[str, Any]) -> float | None:
    progress = view.get("progress") or {}
    total = progress.get("total")
    return min(1.0, max(0.0, (progress.get("done") or 0.0) / total)) if total else None
