"""`milepost bench`."""

import os
from dataclasses import asdict, replace
from typing import Any, Final

import click
import orjson

from milepost.cli.dev.command import free_base, run_stand
from milepost.cli.exits import Exit
from milepost.cli.output import json_option
from milepost.embedded import temporary_home

SETTINGS: Final = {
    # Enough slots and subscriptions that the system is the limit, and not its settings.
    "MILEPOST_CONCURRENCY": "2000",
    "MILEPOST_MAX_SUBSCRIPTIONS": "20000",
    "MILEPOST_LOG_LEVEL": "warning",
}


@click.command()
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="Only these (default: all); see below.")
@click.option("--scale", type=click.FloatRange(0.01, 100), default=1.0, show_default=True, help="Times the tasks.")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Worker processes.")
@click.option("--audit", is_flag=True, help="Afterwards check that nothing was lost or doubled; see below.")
@click.option(
    "--watch",
    type=click.Choice(["each", "feed"]),
    help="One subscription for each task, or the feed of all (default: feed for single and batch, else each).",
)
@json_option
def bench(names: tuple[str, ...], scale: float, workers: int, audit: bool, watch: str | None, as_json: bool) -> int:
    r"""Put the main job under load on servers of its own, and print what was measured.

    \b
    single     tasks submitted one by one over HTTP, as fast as 32 connections go
    batch      the same in batches of 100
    progress   tasks with ten progress events each
    latency    100 tasks a second, evenly
    crowded    500 submissions a second, evenly, with the worker idle and beside eight tasks that spin in processes
               while one more dies of memory each second, by turns
    reads      GET of one task, with the ETag of what one has (304) and without, by turns

    The tasks of the first four are watched over one WebSocket to their ends, and their results read from Postgres.

    --audit compares every row, every record on every topic and every frame with each other, names what does not fit,
    and exits with status 1 then. It has Postgres keep a journal of all moves, which costs a little of the speed, and
    watches each task by itself unless told otherwise: a feed shows changes, not their chain.
    """
    from milepost.cli.bench.audited import Audited
    from milepost.cli.bench.crowded import Crowd
    from milepost.cli.bench.crowded import run as run_crowded
    from milepost.cli.bench.reads import Reads
    from milepost.cli.bench.reads import run as run_reads
    from milepost.cli.bench.scenarios import SCENARIOS, Target, run

    every = [*SCENARIOS, "crowded", "reads"]
    unknown = sorted(set(names) - set(every))
    if unknown:
        raise click.UsageError(f"There is no scenario {unknown[0]}; there are {', '.join(every)}.")

    async def body(stand: Any, narrator: Any) -> Exit:
        plan = stand.plan
        servers = stand.servers
        target = Target(plan.url, plan.stream_url, plan.key, servers["MILEPOST_DATABASE_URL"], plan.home / "run")
        audited = await Audited.begin(servers) if audit else None
        record = None if audited is None else audited.record
        narrator.say("warming up")
        await run(target, replace(SCENARIOS["single"], tasks=200), record=record)
        for name in names or every:
            figures: Any
            if name == "crowded":
                figures = await run_crowded(target, Crowd().scaled(scale), record=record)
            elif name == "reads":
                figures = await run_reads(target, Reads().scaled(scale), record=record)
            else:
                scenario = SCENARIOS[name]
                feed = scenario.feed and not audit if watch is None else watch == "feed"
                tasks = max(100, int(scenario.tasks * scale))
                figures = await run(target, replace(scenario, tasks=tasks, feed=feed), record=record)
            if as_json:
                click.echo(orjson.dumps(asdict(figures)))
            else:
                click.echo("\n" + figures.text())
        if audited is None:
            return Exit.DONE
        verdict = await audited.verdict()
        click.echo("\n" + verdict.text(), err=as_json)
        return Exit.DONE if verdict.good else Exit.FAILED

    with temporary_home("bench") as home:
        os.environ.update(SETTINGS | {"MILEPOST_HOME": str(home)})
        options = {"workers": workers, "notifiers": 1, "port_base": free_base(), "tasks": None}
        return run_stand(options, body)
