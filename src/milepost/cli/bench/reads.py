"""What asking for a task costs the api, with the ETag of what one has and without."""

import asyncio
from dataclasses import dataclass, replace
from statistics import median
from typing import Self

import orjson

from milepost.audit.facts import Record
from milepost.cli.bench import cpu, tasks
from milepost.cli.bench.http import Connection
from milepost.cli.bench.scenarios import Target
from milepost.errors import MilepostError

_READ = orjson.dumps({"type": "demo.echo", "payload": {"n": 1}})


@dataclass(frozen=True, slots=True)
class Reads:
    """`requests` for one of `tasks` finished tasks by `connections` at once, as fast as they go; `rounds` of both."""

    requests: int = 15_000
    rounds: int = 3
    tasks: int = 100
    connections: int = 8

    def scaled(self, by: float) -> Self:
        """Return the same with so many times the requests, a hundred at least."""
        return replace(self, requests=max(100, int(self.requests * by)))


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn. `per_core_second`: requests for one second of processor time of the api."""

    etag: bool
    requests: int
    per_second: float
    per_core_second: float
    cpu_per_1000: dict[str, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What all turns gave; the last four are medians of turns of a kind, with an ETag (304) and without (200)."""

    scenario: str
    turns: list[Turn]
    etag_per_second: float
    etag_per_core_second: float
    plain_per_second: float
    plain_per_core_second: float

    def text(self) -> str:
        """Return them for people."""
        lines = [f"{self.scenario}: GET /v1/tasks/{{id}}, kept-alive connections"]
        for turn in self.turns:
            used = "  ".join(f"{name} {value:.3f}" for name, value in turn.cpu_per_1000.items())
            lines.append(
                f"    {'If-None-Match, 304' if turn.etag else 'without, 200      '}   {turn.per_second:,.0f}/s"
                f"   {turn.per_core_second:,.0f} for a CPU second of the api   CPU s per 1,000  {used}"
            )
        lines.append(
            f"  medians   with ETag {self.etag_per_second:,.0f}/s, {self.etag_per_core_second:,.0f} for a CPU second"
            f"   without {self.plain_per_second:,.0f}/s, {self.plain_per_core_second:,.0f}"
        )
        return "\n".join(lines)


async def run(target: Target, reads: Reads, *, record: Record | None = None) -> Figures:
    """Take the turns. Raises MilepostError if an answer is not what it should be.

    What was accepted is noted in `record`, for an audit.
    """
    connections = [await Connection.open(target.url, target.key) for _ in range(reads.connections)]
    try:
        ids = [await tasks.submit(connections[0], _READ) for _ in range(reads.tasks)]
        if record is not None:
            record.answered_all(ids)
        await tasks.have_ended(target.database_url, ids)
        etags = [(task, (await connections[0].get(f"/v1/tasks/{task}"))[1]) for task in ids]
        turns = []
        for _ in range(reads.rounds):
            turns.append(await _turn(target, reads, connections, etags, etag=False))
            turns.append(await _turn(target, reads, connections, etags, etag=True))
    finally:
        for connection in connections:
            connection.close()
    plain, etag = ([turn for turn in turns if turn.etag is kind] for kind in (False, True))
    return Figures(
        scenario="reads",
        turns=turns,
        etag_per_second=median(turn.per_second for turn in etag),
        etag_per_core_second=median(turn.per_core_second for turn in etag),
        plain_per_second=median(turn.per_second for turn in plain),
        plain_per_core_second=median(turn.per_core_second for turn in plain),
    )


async def _turn(
    target: Target, reads: Reads, connections: list[Connection], etags: list[tuple[str, str]], *, etag: bool
) -> Turn:
    loop = asyncio.get_running_loop()
    expected = 304 if etag else 200
    left = reads.requests

    async def one(connection: Connection) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            task, tag = etags[left % len(etags)]
            status, found, body = await connection.get(f"/v1/tasks/{task}", tag if etag else None)
            if (status, found, bool(body)) != (expected, tag, not etag):
                raise MilepostError(f"The API answered {status} with ETag {found}, not {expected} with {tag}.")

    before, own_before, began = cpu.used(target.run), cpu.own(), loop.time()
    await asyncio.gather(*(one(connection) for connection in connections))
    took = loop.time() - began
    after, own_after = cpu.used(target.run), cpu.own()
    per_1000 = 1000 / reads.requests
    used = {name: (after[name] - before.get(name, 0.0)) * per_1000 for name in after}
    # A tick of the processor's clock at least: a few requests may take less.
    api = max(used["api"], 0.01 * per_1000)
    return Turn(
        etag=etag,
        requests=reads.requests,
        per_second=round(reads.requests / took, 1),
        per_core_second=round(1000 / api, 1),
        cpu_per_1000={name: round(value, 3) for name, value in used.items()}
        | {"bench": round((own_after - own_before) * per_1000, 3)},
    )
