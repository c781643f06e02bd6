"""`make autoscale`: load triples and falls again, and workers start and stop by the query that KEDA asks.

Real servers, api, notifier and workers; only Kubernetes is played: a pod is a process, SIGTERM ends it.
"""

import argparse
import asyncio
import contextlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import orjson
from pydantic import SecretStr

from benchmarks.autoscale.wanted import wanted
from milepost.audit import Record, Verdict, audit
from milepost.audit.read_store import install_journal
from milepost.embedded import Stack, temporary_home
from milepost.embedded.processes import ManagedProcess
from milepost.runtime.settings import Settings
from milepost.store import migrate
from tests.autoscale.scaler import Scaler
from tests.conftest import API_KEY
from tests.diary import VARIABLE
from tests.system import System, running
from tests.traffic import Job, Submitter

CONCURRENCY: Final = 8
UTILISATION: Final = 0.8
WITHIN_S: Final = 10.0
SYNC_S: Final = 15.0
"""As Kubernetes does by default. The chart's other defaults hold too, but for the five minutes until it goes down."""
STABILIZATION_S: Final = 30.0
DRAIN_S: Final = 2.0
MOST: Final = 10
OBJECTIVE_S: Final = 20.0
LOOK_EVERY_S: Final = 1.0
SAY_EVERY: Final = 5
DRAINED_WITHIN_S: Final = 60.0
BATCH: Final = 4
LONG: Final = 0.1
"""Share of tasks that take 8 s, longer than a drain; the others take 0.9 s."""

_LOOK = """
select count(*)::int as depth, coalesce(extract(epoch from now() - min(queued_at)), 0)::float8 as age
from milepost.tasks where state = 'queued' and queue = 'default'
"""
_PAID = """
select (select count(*) from milepost.attempts where outcome = 'released')::int as released,
    (select count(*) from milepost.attempts where outcome <> 'released')::int as other_ends,
    (select coalesce(sum(attempt - 1), 0) from milepost.tasks)::int as burnt,
    (
        select coalesce(max(extract(epoch from started_at - queued_at)), 0)
        from milepost.tasks as t
        where not exists (select from milepost.attempts as a where a.task_id = t.id)
    )::float8 as longest_wait_s
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One second of the run."""

    at_s: float
    rate: float
    wanted_slots: float
    workers: int
    draining: int
    depth: int
    age_s: float


@dataclass(slots=True)
class Run:
    """What happened."""

    looks: list[Look] = field(default_factory=list)
    started: int = 0
    stopped: int = 0


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)  # noqa: T201 - this is a command


def mixed(chance: random.Random, number: int) -> Job:
    """Return the next task."""
    steps = {"to": 4, "delay": 2.0} if chance.random() < LONG else {"to": 3, "delay": 0.3}
    return Job({"type": "soak.progress", "payload": {"n": number, **steps}})


class Pods:
    """The workers of a pool, as Kubernetes keeps them: more are started, the youngest are told to stop."""

    def __init__(self, system: System, run: Run) -> None:
        self._system = system
        self._run = run
        self._up = list(system.workers)
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> int:
        """Those that were not told to stop."""
        return len(self._up)

    @property
    def leaving(self) -> int:
        """Those that drain."""
        return len(self._leaving)

    async def scale(self, to: int) -> None:
        """Start or stop some; does not wait until those that stop are gone."""
        more = [
            self._system._process(f"worker-more-{self._run.started + n}", "milepost_worker")
            for n in range(to - self.up)
        ]
        self._run.started += len(more)
        self._system.workers += more
        self._up += more
        await asyncio.gather(*(worker.start() for worker in more))
        while self.up > to:
            self._run.stopped += 1
            leaving = asyncio.create_task(self._stop(self._up.pop()))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    @staticmethod
    async def _stop(worker: ManagedProcess) -> None:
        worker.grace = DRAIN_S + 40
        await worker.stop()
        if worker.returncode != 0:
            raise RuntimeError(f"{worker.name} ended with {worker.returncode}:\n" + "\n".join(worker.log_tail()))

    async def gone(self) -> None:
        """Wait until those that were told to stop have. Raises what went wrong with one."""
        await asyncio.gather(*self._leaving)


async def scaled(connection: Any, pods: Pods, run: Run, rate: Callable[[], float]) -> None:
    """Look every second, and decide as often as Kubernetes does, until cancelled."""
    loop = asyncio.get_running_loop()
    scaler = Scaler(CONCURRENCY * UTILISATION, 1, MOST, STABILIZATION_S)
    query = wanted(["default"], most=MOST * CONCURRENCY, within_s=WITHIN_S)
    began = next_sync = loop.time()
    for number in range(sys.maxsize):
        slots = await connection.fetchval(query)
        row = await connection.fetchrow(_LOOK)
        look = Look(loop.time() - began, rate(), slots, pods.up, pods.leaving, row["depth"], row["age"])
        run.looks.append(look)
        if number % SAY_EVERY == 0:
            say(
                f"{look.at_s:5.0f} s  {look.rate:3.0f} tasks/s  wanted {slots:5.1f} slots  {look.workers:2} workers"
                f"{f' ({look.draining} draining)' if look.draining else '':14}  {look.depth:4} waiting,"
                f" the oldest for {look.age_s:4.1f} s"
            )
        if loop.time() >= next_sync:
            next_sync += SYNC_S
            await pods.scale(scaler.decide(slots, pods.up, loop.time()))
        await asyncio.sleep(max(0.0, began + (number + 1) * LOOK_EVERY_S - loop.time()))


async def autoscale(arguments: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    async with contextlib.AsyncExitStack() as held:
        home = held.enter_context(temporary_home("autoscale"))
        stack = await held.enter_async_context(Stack(home))
        settings = Settings.load(
            database_url=SecretStr(stack.database_url),
            kafka_bootstrap=stack.kafka_bootstrap,
            redis_url=SecretStr(stack.redis_url),
            api_key=SecretStr(API_KEY),
            home=home / "services",
            kafka_security_protocol="PLAINTEXT",
        )
        await migrate(settings)
        await install_journal(stack.database_url)
        env = {
            "MILEPOST_CONCURRENCY": str(CONCURRENCY),
            "MILEPOST_DRAIN": str(DRAIN_S),
            "MILEPOST_LOG_LEVEL": "warning",
            VARIABLE: str(settings.home / "diary"),
        }
        system = await held.enter_async_context(running(settings, workers=1, tasks="tests.soak.tasks", env=env))
        session = await held.enter_async_context(aiohttp.ClientSession())
        connection = await asyncpg.connect(stack.database_url)
        held.push_async_callback(connection.close)
        return await _measured(settings, system, session, connection, arguments)


async def _measured(
    settings: Settings, system: System, session: aiohttp.ClientSession, connection: Any, arguments: argparse.Namespace
) -> int:
    record, run = Record(), Run()
    submitter = Submitter(session, system.url, system.key, record)
    pods = Pods(system, run)
    rate = 0.0
    chance = random.Random(arguments.seed)
    scaling = asyncio.create_task(scaled(connection, pods, run, lambda: rate))
    try:
        for rate, seconds in (
            (arguments.rate, arguments.before),
            (arguments.rate * 3, arguments.tripled),
            (arguments.rate, arguments.after),
        ):
            pacing = asyncio.create_task(submitter.pace(rate, BATCH, mixed, chance, lambda _: None))
            await asyncio.wait({pacing, scaling}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            pacing.cancel()
            for task in (pacing, scaling):
                if task.done() and not task.cancelled():
                    task.result()
        rate = 0.0
        await submitter.finish(30)
        await pods.gone()
    finally:
        scaling.cancel()
        await asyncio.gather(scaling, return_exceptions=True)
        await submitter.close()
    verdict, _ = await audit(settings, record, within_s=DRAINED_WITHIN_S, diary=settings.home / "diary")
    paid = await connection.fetchrow(_PAID)
    return _judged(run, paid, verdict, submitter, arguments)


def _judged(run: Run, paid: Any, verdict: Verdict, submitter: Submitter, arguments: argparse.Namespace) -> int:
    oldest = max(look.age_s for look in run.looks)
    few = min(look.workers for look in run.looks)
    many = max(look.workers for look in run.looks)
    good = {
        f"the oldest task waited {oldest:.1f} s at most, of {OBJECTIVE_S:g}": oldest <= OBJECTIVE_S,
        f"{few} to {many} workers; {run.started} were started and {run.stopped} stopped": (
            many >= 2 * few and run.stopped > 0
        ),
        f"{paid['released']} tasks were given back by drains, {paid['burnt']} attempts burnt, "
        f"{paid['other_ends']} ended in any other way": (
            paid["released"] > 0 and paid["burnt"] == 0 and paid["other_ends"] == 0
        ),
        f"{len(submitter.tally.refused)} requests were refused": not submitter.tally.refused,
        verdict.text(): verdict.good,
    }
    say(f"\nthe longest wait of one that was never given back: {paid['longest_wait_s']:.1f} s")
    for what, well in good.items():
        say(f"{'ok   ' if well else 'WRONG'} {what}")
    if arguments.json:
        looks = [
            [round(look.at_s), look.rate, look.wanted_slots, look.workers, look.depth, look.age_s] for look in run.looks
        ]
        figures = {"seed": arguments.seed, "oldest_s": oldest, **dict(paid), "counts": verdict.counts, "looks": looks}
        Path(arguments.json).write_bytes(orjson.dumps(figures))
    return 0 if all(good.values()) else 1


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make autoscale", description=__doc__)
    parser.add_argument("--rate", type=float, default=8, help="tasks a second, tripled for a while")
    parser.add_argument("--before", type=float, default=50, help="seconds")
    parser.add_argument("--tripled", type=float, default=80, help="seconds")
    parser.add_argument("--after", type=float, default=80, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="write figures to this file, too")
    arguments = parser.parse_args()
    Settings.model_config["env_file"] = None
    return asyncio.run(autoscale(arguments))


if __name__ == "__main__":
    sys.exit(main())
