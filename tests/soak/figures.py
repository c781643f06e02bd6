"""What a soak says at its end."""

from collections import Counter
from collections.abc import Sequence
from statistics import quantiles
from typing import Final

from milepost.audit import Facts
from tests.scene import Scene
from tests.soak.faults import Breaker
from tests.soak.happened import NOBODY_LEFT, Happened, of_day
from tests.soak.take_overs import TakeOver

EXPECTED_S: Final = {"killed": 3.0, "paused": 20.0, "cut off": 20.0}
"""What is told task by task took longer than this."""
TOLD_AT_MOST = 40


def lines(scene: Scene, breaker: Breaker, facts: Facts, taken: Sequence[TakeOver]) -> list[str]:
    """Return the figures, a line each."""
    states = Counter(row.state for row in facts.tasks.values())
    outcomes = Counter(past.outcome for history in facts.history.values() for past in history)
    copies = sum(map(len, facts.completions.values()))
    ids = len({completion.id for found in facts.completions.values() for completion in found})
    tally = scene.submitter.tally
    watchers = scene.watchers
    slowest = f"slowest answer {tally.slowest_s:.1f} s"
    connects, resets = sum(w.connects for w in watchers), sum(w.resets for w in watchers)
    drained = "not worked off" if facts.drained_s is None else f"worked off {facts.drained_s:.1f} s after the end"
    text = [
        f"tasks       {len(facts.tasks):,} submitted; {_counts(states)}",
        f"requests    {tally.requests:,}; {slowest}; repeated after: {_counts(tally.unavailable)}",
        f"faults      {breaker.done.total()}: {_counts(breaker.done)}",
        f"attempts    that did not end their task: {_counts(outcomes)}",
        f"completions {copies:,} records, {ids:,} distinct ids, {copies - ids:,} duplicates",
        f"watches     {len(scene.record.watches):,}, over {connects} connections, {resets} resets",
        f"backlog     {drained}",
    ]
    text += [line for kind in EXPECTED_S for line in _taken(kind, [each for each in taken if each.kind == kind])]
    text += _slow([each for each in taken if not each.kept and each.seconds > EXPECTED_S[each.kind]])
    text += [f"UNEXPECTED  {what}" for what in (*breaker.unexpected, *scene.refusals)]
    return text


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counter.items())) or "none"


def _taken(kind: str, taken: Sequence[TakeOver]) -> list[str]:
    counted = [each for each in taken if not each.kept]
    free = [each for each in counted if not each.hindered]
    if not taken:
        return []
    text = [f"take-over   of a worker {kind}: {_spread([each.seconds for each in free])}"]
    if len(free) < len(counted):
        names = {fault.name for each in counted for fault in each.met if fault.name in NOBODY_LEFT}
        text.append(
            f"            with those met by {', '.join(sorted(names))}: {_spread([e.seconds for e in counted])}"
        )
    if len(counted) < len(taken):
        went_on = len(taken) - len(counted)
        text.append(f"            not counted, as the worker came back and something later took them: {went_on}")
    return text


def _slow(slow: Sequence[TakeOver]) -> list[str]:
    """Tell when what happened to each, in seconds since the loss."""
    text = []
    for each in sorted(slow, key=lambda each: -each.seconds)[:TOLD_AT_MOST]:
        lost = each.lost
        seen = "never seen at work" if each.seen_at is None else f"seen at work until {each.seen_at - lost.at:.1f}"
        met = "".join(f"; {fault} {fault.began - lost.at:.1f} to {fault.mended - lost.at:.1f}" for fault in each.met)
        lasted = each.loss.mended - lost.at
        text.append(
            f"slow        {each.task} epoch {each.epoch}, {each.loss} at {of_day(lost.at)} for {lasted:.1f}:"
            f" {seen}, taken back {each.taken_at - lost.at:.1f}, again {each.seconds:.1f}{met or '; nothing else'}"
        )
    if len(slow) > TOLD_AT_MOST:
        text.append(f"slow        and {len(slow) - TOLD_AT_MOST} more, which --json names")
    return text


def as_json(happened: Sequence[Happened], taken: Sequence[TakeOver]) -> dict[str, object]:
    """Return faults and take-overs for machines. Times are seconds of the day, durations seconds."""
    place = {id(fault): number for number, fault in enumerate(happened)}
    return {
        "happened": [
            {
                "name": each.name,
                "began": each.began,
                "mended": each.mended,
                "hits": [hit._asdict() for hit in each.hits],
            }
            for each in happened
        ],
        "take_overs": [
            {
                "task": each.task,
                "epoch": each.epoch,
                "kind": each.kind,
                "loss": place[id(each.loss)],
                "lost_at": each.lost.at,
                "seen_at": each.seen_at,
                "taken_at": each.taken_at,
                "again_at": each.again_at,
                "seconds": each.seconds,
                "met": [place[id(fault)] for fault in each.met],
                "kept": each.kept,
                "hindered": each.hindered,
            }
            for each in taken
        ],
    }


def _spread(values: list[float]) -> str:
    if not values:
        return "nothing was running"
    half = quantiles(values, n=2, method="inclusive")[0] if len(values) > 1 else values[0]
    return f"{len(values)} tasks, p50 {half:.1f} s, max {max(values):.1f} s"
