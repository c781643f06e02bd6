"""What a soak says at its end."""

from collections import Counter
from statistics import quantiles

from milepost.audit import Facts
from tests.scene import Scene
from tests.soak.faults import Breaker

TAKE_OVER = """
select l.id, extract(epoch from min(m.at))::float8
from unnest($1::uuid[], $2::int[]) as l (id, epoch)
join milepost_audit.moves m on m.task_id = l.id and m.epoch > l.epoch and m.target = 'running'
where not exists (
    select from milepost_audit.moves e
    where e.task_id = l.id and e.epoch = l.epoch and e.source = 'running' and e.epoch_before = l.epoch
)
group by l.id
"""


async def take_overs(scene: Scene, breaker: Breaker) -> dict[str, list[float]]:
    """Return, for each way a worker was lost, seconds until somebody else ran what it had held."""
    seconds: dict[str, list[float]] = {}
    for loss in breaker.losses:
        if loss.held:
            ids, epochs = zip(*loss.held, strict=True)
            rows = await scene.rows(TAKE_OVER, list(ids), list(epochs))
            seconds.setdefault(loss.kind, []).extend(row[1] - loss.at for row in rows)
    return seconds


def lines(scene: Scene, breaker: Breaker, facts: Facts, taken: dict[str, list[float]]) -> list[str]:
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
    text += [f"take-over   of a worker {kind}: {_spread(values)}" for kind, values in sorted(taken.items())]
    text += [f"UNEXPECTED  {what}" for what in (*breaker.unexpected, *scene.refusals)]
    return text


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counter.items())) or "none"


def _spread(values: list[float]) -> str:
    if not values:
        return "nothing was running"
    half = quantiles(values, n=2, method="inclusive")[0] if len(values) > 1 else values[0]
    return f"{len(values)} tasks, p50 {half:.1f} s, max {max(values):.1f} s"
