"""Honest clients while hostile ones go at the relay, and, by turns, while the same ones go at a decoy.

The attackers (those of tests/faults/hostile.py) use the same cores, so a delay beside them is not yet the relay's: its
own is the difference to the decoy.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import psutil
from uuid_utils.compat import uuid7

from benchmarks.relay.client import Client
from benchmarks.relay.feeds import TENANT, Subject
from benchmarks.relay.relays import Relay
from benchmarks.relay.scenarios import SETTLE_S, Figures, Say, Sizes, begin, measured
from milepost.domain.grant import Grant
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens

ROUNDS: Final = 4
SECONDS: Final = 4.0
WARM_S: Final = 2.0
"""So long after the attack began: floods were cut off once, and come back."""
FEW_AT_ONCE: Final = 20
"""The waiting room is small here."""
WHOM: Final = ("nobody", "decoy", "relay")
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the attacked is."""

    stream: int
    http: int


def target_of(settings: Settings, ports: Ports, subjects: Sequence[Subject]) -> dict[str, Any]:
    """Return what attackers have in hand, see tests/faults/hostile.py. Tasks are the honest clients' own."""
    tokens = Tokens.of(settings)
    assert settings.api_key is not None  # noqa: S101 - the stand has one
    feed = Grant(feed=True)
    return {
        "port": ports.stream, "http_port": ports.http, "key": settings.api_key.get_secret_value(),
        "stolen": tokens.sign(TENANT, Grant(task=subjects[0].id), 3600)[0], "mine": str(subjects[0].id),
        "feed": tokens.sign(TENANT, feed, 3600)[0],
        "expired": tokens.sign(TENANT, feed, 60, now=time.time() - 61)[0],
        "forged": Tokens([b"x" * 32]).sign(TENANT, feed, 3600)[0],
        "others": [str(UUID(str(uuid7()))) for _ in range(5)],
    }  # fmt: skip


@asynccontextmanager
async def _attacked(target: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Have them at it inside the block; what they did and cost is in the dictionary after it."""
    pipe = asyncio.subprocess.PIPE
    attackers = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.hostile", stdin=pipe, stdout=pipe, cwd=ROOT
    )
    assert attackers.stdin is not None  # noqa: S101 - piped
    assert attackers.stdout is not None  # noqa: S101 - piped
    done: dict[str, Any] = {}
    try:
        attackers.stdin.write(orjson.dumps(target) + b"\n")
        await asyncio.sleep(WARM_S)
        before = _cpu(attackers.pid)
        began = time.monotonic()
        yield done
        done["cpu"] = (_cpu(attackers.pid) - before) / (time.monotonic() - began)
        attackers.stdin.close()
        done["attempts"] = orjson.loads(await attackers.stdout.readline())
    finally:
        if attackers.returncode is None:
            attackers.kill()
        await attackers.wait()


@asynccontextmanager
async def _decoy(ports: Ports) -> AsyncIterator[None]:
    decoy = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.relay.decoy", str(ports.stream), str(ports.http),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert decoy.stdout is not None  # noqa: S101 - piped
    try:
        await decoy.stdout.readline()
        yield
    finally:
        decoy.kill()
        await decoy.wait()


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def under_attack(
    program: Path, relay: Relay, settings: Settings, ports: Ports, decoy: Ports, sizes: Sizes, say: Say
) -> list[Figures]:
    """Measure the honest clients of a relay by turns; return a column for each of `WHOM` that is attacked."""
    connections = max(20, sizes.connections // 25)
    rate = sizes.rate / 5
    subjects = [Subject() for _ in range(connections)]
    await begin(relay, subjects)
    rounds: dict[str, list[dict[str, float]]] = {whom: [] for whom in WHOM}
    async with Client(program, relay.line, [subject.id for subject in subjects]) as client, _decoy(decoy):
        await client.ask("open", connections, FEW_AT_ONCE)
        await measured(client, relay, subjects, rate, 2.0)
        for _ in range(ROUNDS):
            for whom in WHOM:
                if whom == "nobody":
                    done: dict[str, Any] = {}
                    report = await measured(client, relay, subjects, rate, SECONDS)
                else:
                    target = target_of(settings, ports if whom == "relay" else decoy, subjects)
                    async with _attacked(target) as done:
                        report = await measured(client, relay, subjects, rate, SECONDS)
                    await asyncio.sleep(SETTLE_S)
                say(f"{whom}: {report} {done}")
                rounds[whom].append(
                    {
                        "p50_ms": report["p50_ms"], "p95_ms": report["p95_ms"], "p99_ms": report["p99_ms"],
                        "relay_busy": report["relay_cpu"] / (report["offered_s"] + SETTLE_S),
                        "attackers_busy": done.get("cpu", 0.0),
                        "attempts": sum(done.get("attempts", {}).values()) / (WARM_S + SECONDS + SETTLE_S),
                        "lost": report["sent"] - report["events"] - report["merged"],
                        "resets": report["resets"],
                    }
                )  # fmt: skip
    return [
        Figures(whom, {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]})
        for whom, found in rounds.items()
    ]
