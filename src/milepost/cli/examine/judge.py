"""What numbers mean: pure functions from what was gathered to findings."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

from milepost.cli.examine.finding import Finding

CLOCK_S: Final = 1.0
BEHIND_S: Final = 60.0
"""A worker names itself a moment before Postgres hears of it; how long that takes is not its clock's fault."""
OUTBOX_S: Final = 60.0
SWEEP_S: Final = 60.0
GONE_S: Final = 600.0
"""A worker that has been silent for so long is not looked for any more."""
PRESENT_S: Final = 10.0
"""A worker that was just started may have said that it is there before it holds its lock."""

Place = tuple[str, int]
"""Topic and partition."""


class Book(NamedTuple):
    """What Postgres says of the work: ages in seconds, None where there is nothing."""

    outbox: int
    outbox_age: float | None
    queued: int
    queued_age: float | None
    """Since the oldest queued task could have been started."""
    overdue: int
    """Running tasks whose lease ran out more than `SWEEP_S` ago."""


class WorkerRow(NamedTuple):
    """What a worker said of itself last."""

    id: UUID
    name: str
    started_at: datetime
    seen_s: float
    running: int
    slots: int
    up_s: float
    """Seconds since Postgres first heard of it."""
    presence: bool
    """Whether it says that it holds its presence lock."""


class WebhookRow(NamedTuple):
    """A webhook whose last attempt failed."""

    id: UUID
    tenant: str
    failing_s: float
    """Seconds since every attempt has failed."""
    failures: int
    disabled: bool


class Group(NamedTuple):
    """A consumer group at two moments."""

    members: int
    before: Mapping[Place, int]
    """Records not read yet."""
    after: Mapping[Place, int]
    moved: frozenset[Place]
    """Partitions whose committed offset moved in between."""


def topics(wanted: Mapping[str, int], found: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return what is wrong with topics (name → partitions), each with what to do."""
    wrong = []
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        wrong.append((f"topics are missing: {', '.join(missing)}", "Run `milepost migrate`."))
    few = sorted(name for name, partitions in wanted.items() if found.get(name, partitions) < partitions)
    if few:
        shown = ", ".join(f"{name} ({found[name]} of {wanted[name]})" for name in few)
        advice = "Add partitions with kafka-topics --alter, or lower MILEPOST_KAFKA_PARTITIONS to what there are."
        wrong.append((f"topics have too few partitions: {shown}", advice))
    return wrong


def group(name: str, what: str, found: Group, *, busy: bool = False) -> Finding:
    """Judge a consumer group; `busy`: its members have no room for more, so lag is no fault of theirs."""
    lag = sum(found.after.values())
    members = f"{found.members} member{'' if found.members == 1 else 's'}"
    if lag == 0:
        return Finding(name, ok=True, detail=f"{members}, nothing waits")
    if found.members == 0:
        advice = f"Nobody reads {what}: start one of those that do."
        return Finding(name, ok=False, detail=f"{lag:,} records wait and the group has no members", advice=advice)
    still = sorted(
        place for place, n in found.after.items() if n and found.before.get(place) and place not in found.moved
    )
    if still and not busy:
        shown = ", ".join(f"{topic}/{partition}" for topic, partition in still[:4])
        return Finding(
            name,
            ok=False,
            detail=f"{lag:,} records wait; {len(still)} partitions do not move ({shown})",
            advice="A reader replaces its consumer within 15 s by itself. If this stays, restart one after the other.",
        )
    return Finding(name, ok=True, detail=f"{members}, {lag:,} records wait{' for free slots' if busy else ''}")


def book(found: Book) -> list[Finding]:
    """Judge what Postgres knows of the work."""
    findings = []
    late = found.outbox_age is not None and found.outbox_age > OUTBOX_S
    detail = f"{found.outbox:,} completions wait" + (f", the oldest for {found.outbox_age:.0f} s" if late else "")
    advice = "Workers publish them once Kafka takes records: look at kafka, and that a worker runs."
    findings.append(Finding("outbox", not late, detail, advice))
    detail = f"{found.queued:,} tasks queued"
    if found.queued_age is not None:
        detail += f", the oldest for {found.queued_age:.0f} s"
    if found.overdue:
        detail += f"; {found.overdue:,} run under leases that ran out"
    advice = "Any worker takes them back within seconds: start one, or look at the log of those there are."
    findings.append(Finding("tasks", not found.overdue, detail, advice))
    return findings


def clocks(offset_s: float, workers: Sequence[WorkerRow]) -> Finding:
    """Judge clocks: ours against Postgres (positive: Postgres is ahead), and those of the workers' hosts.

    A worker's id holds the time it was made, by its own clock; Postgres noted when it first heard of it.
    """
    wrong = []
    if abs(offset_s) > CLOCK_S:
        wrong.append(f"this host is {abs(offset_s):.1f} s {'behind' if offset_s > 0 else 'ahead of'} Postgres")
    for worker in workers:
        if worker.id.version != 7:
            continue
        ahead = (worker.id.int >> 80) / 1000 - worker.started_at.timestamp()
        if ahead > CLOCK_S or ahead < -BEHIND_S:
            wrong.append(f"{worker.name} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} Postgres")
    advice = "Run NTP there. Nothing is ordered by clocks, but times shown, run_at and expiry are read by people."
    return Finding("clocks", not wrong, "; ".join(wrong) or f"within {CLOCK_S:g} s of Postgres", advice)


def presence(workers: Sequence[WorkerRow], live_s: float, *, wanted: bool) -> Finding:
    """Judge who was seen, and which live workers hold their presence lock; `wanted`: whether they should.

    A worker that stops says goodbye, so one that went silent was killed or is cut off. After a while that is only
    named: its tasks were taken back long ago, and who should be there instead is there or is missed elsewhere.
    """
    gone = [worker for worker in workers if worker.seen_s > max(live_s, GONE_S)]
    silent = [worker for worker in workers if live_s < worker.seen_s and worker not in gone]
    without = [w for w in workers if wanted and w.seen_s <= live_s and w.up_s > PRESENT_S and not w.presence]
    wrong, advice = [], []
    if silent:
        wrong.append(f"{len(silent)} went silent: " + _some(f"{w.name} ({w.seen_s:.0f} s ago)" for w in silent))
        advice.append(
            "Their tasks were taken back. If one should be there, look at its log; it is forgotten after a day."
        )
    if without:
        wrong.append(f"{len(without)} without presence lock: " + _some(w.name for w in without))
        advice.append(
            "If a worker without presence is killed, its tasks wait for their leases. Look for `leases could not be"
            " renewed` in its log. Workers of versions before 0002_presence hold none. Behind a pooler of transactions"
            " set MILEPOST_PRESENCE=false."
        )
    fine = f"all {len(workers) - len(gone)} were seen within {live_s:.0f} s"
    fine += ", none without its lock" if wanted else ""
    said = wrong or [fine]
    if gone:
        said.append(f"{len(gone)} ended without goodbye earlier: " + _some(w.name for w in gone))
    return Finding("presence", not wrong, "; ".join(said), " ".join(advice) or None)


def webhooks(count: int, failing: Sequence[WebhookRow]) -> list[Finding]:
    """Judge webhooks, `count` in all; nothing if there are none.

    A receiver is not of this installation: what it refuses is told, and is no fault here.
    """
    if not count:
        return []
    if not failing:
        return [Finding("webhooks", ok=True, detail=f"{count:,}, none fails")]
    shown = _some(
        f"{row.id} of {row.tenant} ("
        + ("disabled, " if row.disabled else "")
        + f"{row.failures:,} failures in {row.failing_s:.0f} s)"
        for row in failing
    )
    disabled = sum(row.disabled for row in failing)
    detail = (
        f"{len(failing):,} of {count:,} fail or were disabled: {shown}. `milepost webhooks deliveries ID` with a key "
        "of that tenant says why"
    )
    if disabled:
        detail += "; once it is mended, `milepost webhooks set ID --enable`"
    return [Finding("webhooks", ok=True, detail=detail)]


def _some(names: Iterable[str]) -> str:
    return ", ".join(islice(names, 4))
