"""How long the tasks of a lost worker waited until somebody ran them again. Pure.

A task counts if the sweep took it from a worker that a fault had hit while it ran the task. It does not if that worker
came back and its handler was still seen at work when something else hit the worker: then that took the task away. A
handler that had let go is seen no more, so however its task is taken in the end, it counts from the loss.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from milepost.audit.facts import Facts, Mark, Move
from tests.soak.happened import LOSSES, NOBODY_LEFT, POSTGRES_AWAY, Happened, Hit

LEASE_S: Final = 15.0
"""A handler at work so long after its worker was lost is proof of a renewal: it is stopped before its lease ends."""
UNSEEN_S: Final = 0.5
"""A handler on a busy machine may be silent for so long beyond its own interval."""


class TakeOver(NamedTuple):
    """A task that was taken from a worker. Times are seconds of the day."""

    task: UUID
    epoch: int
    """In which it was lost."""
    loss: Happened
    lost: Hit
    seen_at: float | None
    """When its handler was last seen at work; None: never."""
    taken_at: float
    again_at: float
    """When somebody ran it again, or when it was ended instead."""
    met: tuple[Happened, ...]
    """Other faults meanwhile."""
    kept: bool
    """Its worker came back and went on with it, and something else took it away."""

    @property
    def kind(self) -> str:
        """What became of the worker."""
        return LOSSES[self.loss.name]

    @property
    def seconds(self) -> float:
        """How long nobody who could write was at work on it, as far as others could know."""
        return self.again_at - self.lost.at

    @property
    def hindered(self) -> bool:
        """Whether a fault met it that left nobody to take it over."""
        return any(fault.name in NOBODY_LEFT for fault in self.met)


class _Run(NamedTuple):
    """One claim that the sweep ended."""

    epoch: int
    worker: UUID | None
    since: float
    taken_at: float
    again_at: float


def take_overs(happened: Sequence[Happened], facts: Facts, day_s: float) -> list[TakeOver]:
    """Return what was taken from workers that were lost, in the order of the losses.

    `day_s`: the second of the day at which the machine's monotonic clock, by which the diary is kept, was 0.
    """
    assert facts.moves is not None, "the database keeps no journal"
    found: list[TakeOver] = []
    known = _workers(facts, day_s)
    losses: dict[UUID, list[tuple[Happened, Hit]]] = {}
    for fault in happened:
        if fault.name in LOSSES:
            for hit in fault.hits:
                if (worker := known.at(hit.pid, hit.at)) is not None:
                    losses.setdefault(worker, []).append((fault, hit))
    for task, moves in facts.moves.items():
        for run in _taken(moves):
            for loss, hit in losses.get(run.worker, ()) if run.worker is not None else ():
                if run.since <= hit.at < run.taken_at:
                    seen = _last_seen(facts.diary.get(task, ()), run, day_s)
                    found.append(_take_over(task, run, loss, hit, seen, happened))
    return sorted(found, key=lambda each: (each.lost.at, each.again_at))


def _taken(moves: Sequence[Move]) -> Iterator[_Run]:
    """Yield each run of a task that the sweep ended, and that somebody followed."""
    for number, claim in enumerate(moves):
        if (claim.source, claim.target) != ("queued", "running"):
            continue
        # One that gives the attempt back still runs.
        rest = [move for move in moves[number + 1 :] if (move.source, move.target) != ("running", "running")]
        if not rest or rest[0].epoch == claim.epoch:
            continue
        taken = rest[0]
        again = next((move for move in rest if move.target not in {"queued", "scheduled"}), None)
        if again is not None:
            yield _Run(claim.epoch, claim.worker, claim.at, taken.at, again.at)


class _Workers:
    """Which worker a process was: pids come again, workers do not."""

    def __init__(self, begun: Iterable[tuple[int, float, UUID]]) -> None:
        self._times: dict[int, list[float]] = {}
        self._workers: dict[int, list[UUID]] = {}
        for pid, at, worker in sorted(begun, key=lambda each: each[1]):
            self._times.setdefault(pid, []).append(at)
            self._workers.setdefault(pid, []).append(worker)

    def at(self, pid: int, at: float) -> UUID | None:
        """Return the worker that a process was at a moment; None if it had run nothing yet."""
        before = bisect_right(self._times.get(pid, []), at)
        return self._workers[pid][before - 1] if before else None


def _workers(facts: Facts, day_s: float) -> _Workers:
    """Find out from what handlers noted and what the journal holds of the same epoch."""

    def begun() -> Iterator[tuple[int, float, UUID]]:
        for task, moves in (facts.moves or {}).items():
            ran = {move.epoch: move.worker for move in moves if move.target == "running"}
            for mark in facts.diary.get(task, ()):
                if mark.what == "begin" and (worker := ran.get(mark.epoch)) is not None:
                    yield mark.pid, mark.at + day_s, worker

    return _Workers(begun())


def _last_seen(marks: Iterable[Mark], run: _Run, day_s: float) -> Mark | None:
    """Return a handler's last sign before its task was taken back, by the day's clock; None if it keeps no diary."""
    own = [mark._replace(at=mark.at + day_s) for mark in marks if mark.epoch == run.epoch]
    return max((mark for mark in own if mark.at <= run.taken_at), key=lambda mark: mark.at, default=None)


def _take_over(
    task: UUID, run: _Run, loss: Happened, lost: Hit, seen: Mark | None, happened: Sequence[Happened]
) -> TakeOver:
    met = tuple(fault for fault in happened if fault is not loss and fault.meets(lost.at, run.again_at))
    kept = seen is not None and _kept(loss, lost, seen, list(_later(loss, lost, run, met)))
    return TakeOver(
        task, run.epoch, loss, lost, None if seen is None else seen.at, run.taken_at, run.again_at, met, kept
    )


def _later(loss: Happened, lost: Hit, run: _Run, met: Iterable[Happened]) -> Iterator[float]:
    """Yield when something else hit the same worker, or took Postgres away, before the task was taken back."""
    for fault in met:
        times = [hit.at for hit in fault.hits if hit.worker == lost.worker]
        if fault.name in POSTGRES_AWAY:
            times.append(fault.began)
        yield from (at for at in times if loss.mended <= at < run.taken_at)


def _kept(loss: Happened, lost: Hit, seen: Mark, later: Sequence[float]) -> bool:
    """Whether the handler went on after the loss, and what came later is why its task was taken."""
    if seen.at <= loss.mended or not later:
        return False
    return seen.at > lost.at + LEASE_S or seen.at + seen.every_s + UNSEEN_S >= min(later)
