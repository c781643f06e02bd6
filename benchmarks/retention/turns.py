"""Submissions alone and while old tasks are deleted, by turns."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
import orjson
import psutil

from benchmarks.retention.holding import Pass
from benchmarks.retention.seeding import count, seed
from benchmarks.retention.server import Books, sizes, sizes_text
from milepost.cli.bench import cpu, tasks
from milepost.cli.bench.evenly import submit_evenly
from milepost.cli.bench.figures import Percentiles, percentiles, slashed
from milepost.cli.bench.http import Connection

BODY: Final = orjson.dumps({"type": "demo.echo", "payload": {"n": 1}})
CONNECTIONS: Final = 32
OTHERS: Final = "others"
"""Whatever else this machine does: turns in which that is much say little."""
_WARM_S: Final = 3.0
_SHOWN: Final = ("postgres", "api", "worker-0", OTHERS)
STALL_MS: Final = 100.0
"""Who waits so long for an answer notices."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn. `submit_ms`: from when a submission was due to its answer; `late_ms`: how late the load itself was.

    `cpu` is CPU seconds a second.
    """

    deleting: bool
    submit_ms: Percentiles
    slowest_ms: float
    stalled: int
    late_ms: Percentiles
    deleted_per_second: float
    cpu: dict[str, float]
    books: Books


@dataclass(frozen=True, slots=True)
class Figures:
    """What all turns gave. `all_ms` are percentiles over all submissions of turns of a kind, alone first.

    `ratios`: p99 of each turn that deleted over that of the turn alone beside it. Sizes are bytes.
    """

    old: int
    rate: float
    seconds: float
    turns: list[Turn]
    alone_ms: Percentiles
    deleting_ms: Percentiles
    all_ms: tuple[Percentiles, Percentiles]
    ratios: list[float]
    left: int
    before: dict[str, Any]
    after: dict[str, Any]

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"{self.old:,} old tasks, {self.rate:g} submissions/s for {self.seconds:g} s a turn",
            f"  submit, ms  p50 / p95 / p99   slowest (so many over {STALL_MS:g})   the load was late by   deleted/s",
            f"              cores of {', '.join(_SHOWN)}   WAL, pages in full in it, checkpoints / autovacuums",
        ]
        lines += [
            f"    {'deleting' if turn.deleting else 'alone   '}  {slashed(turn.submit_ms)}   "
            f"{turn.slowest_ms:,.1f} ({turn.stalled})   {slashed(turn.late_ms)}   {turn.deleted_per_second:,.0f}\n"
            "              "
            f"{' '.join(f'{turn.cpu[name]:.2f}' for name in _SHOWN)}   {turn.books.text()}"
            for turn in self.turns
        ]
        alone, deleting = self.all_ms
        lines += [
            f"  medians       alone {slashed(self.alone_ms)}   deleting {slashed(self.deleting_ms)}",
            f"  of all turns  alone {slashed(alone)}   deleting {slashed(deleting)}",
            f"  p99 deleting over alone: {', '.join(f'{each:.2f}' for each in self.ratios)}",
            f"              median {median(self.ratios):.2f}; of all turns {deleting[2] / alone[2]:.2f}",
            f"  left of the old: {self.left:,}",
            f"  before: {sizes_text(self.before)}",
            f"  after: {sizes_text(self.after)}",
        ]
        return "\n".join(lines)


async def stored(stand: Any, narrator: Any, old: int) -> int:
    """Have old tasks in the stand that nobody deletes yet, those a run before left or new ones; return how many."""
    url = stand.servers["MILEPOST_DATABASE_URL"]
    database = await asyncpg.connect(url)
    try:
        found = await count(database)
        if not found:
            narrator.say(f"storing {old:,} tasks that ended long ago")
            await seed(database, old)
            await database.execute("vacuum (analyze) milepost.tasks, milepost.attempts")
            # What was stored just now would have to reach the disk while we measure. Postgres' own account has the
            # same password in a stand of ours.
            owner = await asyncpg.connect(url.replace("//milepost:", "//postgres:"))
            await owner.execute("checkpoint")
            await owner.close()
            os.sync()
        return found or old
    finally:
        await database.close()


async def measure(
    stand: Any, narrator: Any, held: Pass, old: int, *, rate: float, seconds: float, rounds: int
) -> Figures:
    """Measure `rounds` turns of each kind; those that delete and those alone come first by turns too."""
    database = await asyncpg.connect(stand.servers["MILEPOST_DATABASE_URL"])
    before = await sizes(database)
    narrator.say(f"submitting {rate:g} tasks a second, {rounds} turns of each kind")
    connections = [await Connection.open(stand.plan.url, stand.plan.key) for _ in range(CONNECTIONS)]
    turns: list[Turn] = []
    took: dict[bool, list[float]] = {False: [], True: []}
    try:
        await submit_evenly(connections, BODY, rate, _WARM_S)  # so that nothing is done for the first time
        for number in range(rounds):
            for deleting in (False, True) if number % 2 == 0 else (True, False):
                turn, each = await _turn(stand, held, connections, database, rate, seconds, deleting=deleting)
                turns.append(turn)
                took[deleting] += each
    finally:
        for connection in connections:
            connection.close()
    await asyncio.sleep(1.0)  # what a session says of its rows is counted when it is idle
    after = await sizes(database)
    left = await count(database)
    await database.close()
    alone, beside = ([turn.submit_ms for turn in turns if turn.deleting is kind] for kind in (False, True))
    return Figures(
        old=old,
        rate=rate,
        seconds=seconds,
        turns=turns,
        alone_ms=_medians(alone),
        deleting_ms=_medians(beside),
        all_ms=(percentiles(took[False]), percentiles(took[True])),
        ratios=[round(b[2] / a[2], 2) for a, b in zip(alone, beside, strict=True)],
        left=left,
        before=before,
        after=after,
    )


async def _turn(
    stand: Any,
    held: Pass,
    connections: list[Connection],
    database: Any,
    rate: float,
    seconds: float,
    *,
    deleting: bool,
) -> tuple[Turn, list[float]]:
    loop, run = asyncio.get_running_loop(), stand.plan.home / "run"
    if deleting:
        await held.go_on()
    deleted, began = await held.deleted(), loop.time()
    used, books = _spent(run), await Books.read(database)
    ids, took, late = await submit_evenly(connections, BODY, rate, seconds)
    passed = loop.time() - began
    per_second = (await held.deleted() - deleted) / passed
    spent = {name: round((value - used.get(name, 0.0)) / passed, 2) for name, value in _spent(run).items()}
    wrote = (await Books.read(database)).since(books)
    if deleting:
        await held.hold()
    await tasks.have_ended(stand.servers["MILEPOST_DATABASE_URL"], ids)
    slow = sum(each * 1000 > STALL_MS for each in took)
    slowest = round(max(took) * 1000, 1)
    return Turn(deleting, percentiles(took), slowest, slow, percentiles(late), round(per_second, 1), spent, wrote), took


def _spent(run: Path) -> dict[str, float]:
    """Return CPU seconds so far of the stand's processes, and of others on this machine."""
    ours = cpu.used(run)
    all_ = psutil.cpu_times()
    busy = all_.user + all_.nice + all_.system + all_.irq + all_.softirq + all_.steal
    return ours | {OTHERS: busy - sum(ours.values()) - cpu.own()}


def _medians(all_ms: list[Percentiles]) -> Percentiles:
    p50, p95, p99 = (round(median(each[n] for each in all_ms), 1) for n in range(3))
    return p50, p95, p99
