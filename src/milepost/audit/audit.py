"""One audit, from collecting to the verdict."""

import asyncio
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from milepost.audit.diary import read_diary
from milepost.audit.facts import Facts, Place, Record
from milepost.audit.finding import Finding, Verdict
from milepost.audit.in_deliveries import check_deliveries
from milepost.audit.in_diary import check_diary
from milepost.audit.in_frames import check_frames
from milepost.audit.in_log import check_log
from milepost.audit.in_store import check_store
from milepost.audit.read_log import read_log
from milepost.audit.read_store import drained, read_store
from milepost.runtime.settings import Settings

AGAIN_S = 5.0
"""A record may be on its way to Kafka when the rows are at rest already; what is missing is looked for once more."""


def check(facts: Facts, record: Record) -> Verdict:
    """Return what is wrong with the facts. Pure."""
    findings: list[Finding] = [
        *check_store(facts, record),
        *check_log(facts),
        *check_frames(facts, record),
        *check_diary(facts),
        *check_deliveries(facts),
    ]
    counts = Counter(
        {
            "tasks": len(facts.tasks),
            "deleted": sum(row.deleted for row in facts.tasks.values()),
            "accepted": len(record.accepted),
            "moves": sum(map(len, (facts.moves or {}).values())),
            "events": sum(map(len, facts.events.values())),
            "completions": sum(map(len, facts.completions.values())),
            "deliveries": len(facts.deliveries),
            "hints": sum(map(len, facts.hints.values())),
            "watches": len(record.watches),
            "frames": sum(len(watch.frames) for watch in record.watches),
            "marks": sum(map(len, facts.diary.values())),
        }
    )
    return Verdict(sorted(findings, key=lambda finding: (finding.invariant, str(finding.task))), counts)


async def audit(
    settings: Settings,
    record: Record,
    *,
    within_s: float = 30.0,
    ignoring: Collection[Place] = (),
    only_ours: bool = True,
    diary: Path | None = None,
) -> tuple[Verdict, Facts]:
    """Wait until what was accepted is done with, collect everything, check it.

    `diary` is what handlers wrote while they ran, if they did. `within_s` bounds the backlog (invariant 9). Call it
    when all faults are healed and watchers had their time.
    Raises Unavailable if Postgres or Kafka is away.
    """
    url = settings.database_url.get_secret_value()
    drained_s = await drained(url, record.accepted, within_s)
    for last in (False, True):
        facts = Facts(drained_s=drained_s, bound_s=within_s, only_ours=only_ours)
        await read_store(url, facts)
        await read_log(settings, facts, ignoring)
        if diary is not None:
            facts.diary = await asyncio.to_thread(read_diary, diary)
        verdict = check(facts, record)
        if verdict.good or last:
            break
        await asyncio.sleep(AGAIN_S)
    return verdict, facts
