"""What submitting costs a client while handlers in processes take every core and one runs out of memory each second."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Self

import orjson

from milepost.audit.facts import Record
from milepost.cli.bench import tasks
from milepost.cli.bench.evenly import submit_evenly
from milepost.cli.bench.figures import Percentiles, percentiles, slashed
from milepost.cli.bench.http import Connection
from milepost.cli.bench.scenarios import Target
from milepost.errors import MilepostError

_SUBMITTED = orjson.dumps({"type": "demo.echo", "payload": {"n": 1}})
_SPINS = orjson.dumps({"type": "demo.spin", "payload": {"seconds": 3600}})
_DIES = orjson.dumps({"type": "demo.allocate", "payload": {"mib": 2048}})
"""Four times what it may take."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """`rate` submissions a second for `seconds`, beside nothing and beside the crowd by turns, `rounds` of both."""

    seconds: float = 20.0
    rounds: int = 2
    rate: float = 500.0
    connections: int = 32
    spinning: int = 8
    dying_every: float = 1.0

    def scaled(self, by: float) -> Self:
        """Return the same with turns so many times as long, of a second at least."""
        return replace(self, seconds=max(1.0, self.seconds * by))


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    `submit_ms`: from when a submission was due, and the load awake, to its answer; a wait for a connection included.
    `late_ms`: how long after it was due the load was awake: it shares the cores, and its own lateness is no answer's.
    """

    crowded: bool
    submitted: int
    submit_ms: Percentiles
    slowest_ms: float
    late_ms: Percentiles
    died: int
    """Tasks that ended for want of memory meanwhile."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What all turns gave; percentiles are the medians of turns of a kind."""

    scenario: str
    rate: float
    seconds: float
    spinning: int
    turns: list[Turn]
    idle_ms: Percentiles
    crowded_ms: Percentiles
    ratio: Percentiles

    def text(self) -> str:
        """Return them for people."""
        offered = f"{self.rate:,.0f} submissions/s for {self.seconds:g} s a turn"
        beside = f"{self.spinning} tasks that spin and one a second that dies of memory"
        lines = [
            f"{self.scenario}: {offered}, alone and beside {beside}",
            "  submit, ms  p50 / p95 / p99   slowest   the load was late by   died of memory",
        ]
        lines += [
            f"    {'crowded' if turn.crowded else 'alone  '}   {slashed(turn.submit_ms)}   {turn.slowest_ms:,.1f}"
            f"   {slashed(turn.late_ms)}   {turn.died}"
            for turn in self.turns
        ]
        lines.append(
            f"  medians     alone {slashed(self.idle_ms)}   crowded {slashed(self.crowded_ms)}"
            f"   ratio {slashed(self.ratio)}"
        )
        return "\n".join(lines)


async def run(target: Target, crowd: Crowd, *, record: Record | None = None) -> Figures:
    """Take the turns. Raises MilepostError if the crowd was not what it should have been.

    What was accepted is noted in `record`, for an audit.
    """
    connections = [await Connection.open(target.url, target.key) for _ in range(crowd.connections)]
    try:
        turns = []
        for _ in range(crowd.rounds):
            turns.append(await _turn(target, crowd, connections, record, crowded=False))
            turns.append(await _turn(target, crowd, connections, record, crowded=True))
    finally:
        for connection in connections:
            connection.close()
    idle, crowded = (_medians([turn for turn in turns if turn.crowded is kind]) for kind in (False, True))
    return Figures(
        scenario="crowded",
        rate=crowd.rate,
        seconds=crowd.seconds,
        spinning=crowd.spinning,
        turns=turns,
        idle_ms=idle,
        crowded_ms=crowded,
        ratio=(_ratio(crowded[0], idle[0]), _ratio(crowded[1], idle[1]), _ratio(crowded[2], idle[2])),
    )


def _medians(turns: list[Turn]) -> Percentiles:
    p50, p95, p99 = (round(median(turn.submit_ms[n] for turn in turns), 1) for n in range(3))
    return p50, p95, p99


def _ratio(crowded: float, idle: float) -> float:
    return round(crowded / max(idle, 0.1), 1)


async def _turn(
    target: Target, crowd: Crowd, connections: list[Connection], record: Record | None, *, crowded: bool
) -> Turn:
    died: list[str] = []
    async with _crowd(target, crowd, died, record) if crowded else nullcontext():
        ids, took, late = await submit_evenly(connections, _SUBMITTED, crowd.rate, crowd.seconds)
    if record is not None:
        record.answered_all(ids)
    ended = await tasks.have_ended(target.database_url, ids)
    if ended != {"succeeded": len(ids)}:
        raise MilepostError(f"Not all of {len(ids)} tasks succeeded: {ended}.")
    return Turn(
        crowded=crowded,
        submitted=len(ids),
        submit_ms=percentiles(took),
        slowest_ms=round(max(took) * 1000, 1),
        late_ms=percentiles(late),
        died=len(died),
    )


@asynccontextmanager
async def _crowd(target: Target, crowd: Crowd, died: list[str], record: Record | None) -> AsyncIterator[None]:
    """Have tasks spin and others die while the block runs; afterwards, `died` holds those that died of memory."""
    loop = asyncio.get_running_loop()
    connection = await Connection.open(target.url, target.key)
    over = asyncio.Event()

    async def die() -> list[str]:
        began = loop.time()
        dying: list[str] = []
        while not over.is_set():
            dying.append(await tasks.submit(connection, _DIES))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + len(dying) * crowd.dying_every):
                    await over.wait()
        return dying

    try:
        spinning = [await tasks.submit(connection, _SPINS) for _ in range(crowd.spinning)]
        await tasks.are_running(target.database_url, spinning)
        submitting = asyncio.create_task(die())
        try:
            yield
            # Each spun to the end: otherwise the crowd was smaller than it is said to be.
            await tasks.are_running(target.database_url, spinning, timeout=1.0)
        finally:
            over.set()
            dying = await submitting
            for task in spinning:
                await connection.post(f"/v1/tasks/{task}/cancel", b"{}")
        if record is not None:
            record.answered_all([*spinning, *dying])
        await tasks.have_ended(target.database_url, [*spinning, *dying])
        died += await tasks.failed_with(target.database_url, dying, "OutOfMemory")
        if len(died) != len(dying):
            raise MilepostError(f"{len(dying) - len(died)} of {len(dying)} tasks did not die of memory.")
    finally:
        connection.close()
