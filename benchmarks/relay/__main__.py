"""`make bench-relay`: the relay under load, beside two others, in one run."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.relay.client import LoadFailed, build
from benchmarks.relay.hostile import Ports, under_attack
from benchmarks.relay.relays import Relays, Start, find_nchan, free_ports
from benchmarks.relay.scenarios import (
    Figures,
    Sizes,
    fan_out,
    from_calls,
    in_hundreds,
    own_tasks,
    stopped_reader,
)
from benchmarks.relay.table import show
from milepost.cli.dev.command import free_base, run_stand
from milepost.cli.dev.stand import Stand
from milepost.cli.exits import Exit
from milepost.errors import MilepostError

SCENARIOS = ("own", "fan-out", "stopped", "whole", "calls", "hostile")
_SETTINGS = {
    "MILEPOST_CONCURRENCY": "5000",
    "MILEPOST_LOG_LEVEL": "warning",
    "MILEPOST_TASKS": "benchmarks.relay.tasks",
}


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-relay", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only these; default: all")
    parser.add_argument("--relay", action="append", choices=("milepost", "fastapi", "nchan"), help="only these")
    parser.add_argument("--scale", type=float, default=1.0, help="times the connections and the rate")
    parser.add_argument("--processes", type=int, default=1, help="edge processes")
    parser.add_argument("--verbose", action="store_true", help="every report of the load client")
    parser.add_argument("--json", action="store_true", help="figures as lines of JSON")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Run what was asked for; return the exit status."""
    arguments = _arguments(argv)
    scenarios = arguments.scenario or SCENARIOS
    sizes = Sizes().scaled(arguments.scale)
    with tempfile.TemporaryDirectory(prefix="milepost-bench-", ignore_cleanup_errors=True) as home:
        try:
            program = build(Path(home))
        except MilepostError as error:
            print(error, file=sys.stderr)
            return Exit.FAILED
        os.environ.update(_SETTINGS | {"MILEPOST_HOME": home})

        async def body(stand: Stand, narrator: Any) -> Exit:
            relays = Relays(stand, narrator.say)
            starts = _chosen(arguments, relays)
            say = narrator.say if arguments.verbose else lambda _line: None
            for scenario in scenarios:
                narrator.say(f"measuring: {scenario}")
                rows = await _measure(scenario, program, stand, relays, starts, sizes, say)
                if arguments.json:
                    for row in rows:
                        print(orjson.dumps({"scenario": scenario, "relay": row.relay, **row.values}).decode())
                else:
                    show(scenario, rows, sizes)
            return Exit.DONE

        options = {"workers": 1, "notifiers": 1, "port_base": free_base(), "tasks": None}
        return run_stand(options, body)


def _chosen(arguments: argparse.Namespace, relays: Relays) -> dict[str, Start]:
    starts: dict[str, Start] = {"milepost": lambda: relays.edge(arguments.processes), "fastapi": relays.fastapi}
    try:
        find_nchan()
        starts["nchan"] = relays.nchan
    except MilepostError as error:
        print(f"\n*** {error}\n")
    return {name: start for name, start in starts.items() if arguments.relay is None or name in arguments.relay}


async def _measure(
    scenario: str, program: Path, stand: Stand, relays: Relays, starts: dict[str, Start], sizes: Sizes, say: Any
) -> list[Figures]:
    if scenario == "hostile":
        stream, http, *decoy = free_ports(4)
        # Each attacker has an address of its own, and little room to wait in.
        more = {"MILEPOST_TRUSTED_PROXIES": "127.0.0.1", "MILEPOST_MAX_PENDING_HELLOS": "100"}
        async with relays.edge(ports=(stream, http), more=more) as relay:
            ports = Ports(stream, http), Ports(*decoy)
            return await under_attack(program, relay, relays.settings(), *ports, sizes, say)
    if scenario == "whole":
        async with relays.whole() as relay:
            return [await own_tasks(program, relay, sizes, say)]
    if scenario == "calls":
        async with relays.whole() as relay:
            tasks = await _submit(stand, sizes)
            return [await from_calls(program, relay, tasks, sizes.seconds, say)]
    run = {"own": own_tasks, "fan-out": fan_out, "stopped": stopped_reader}[scenario]
    rows = []
    for name, start in starts.items():
        try:
            async with start() as relay:
                rows.append(await run(program, relay, sizes, say))
        except LoadFailed as error:  # one that breaks down under the load says nothing about the others
            print(f"\n*** {name}: {error}\n")
            rows.append(Figures(name))
    return rows


async def _submit(stand: Stand, sizes: Sizes) -> list[str]:
    """Submit tasks that each tell progress once a second, spread evenly over it; return their ids."""
    count = max(20, int(sizes.connections * 0.4))
    beats = int(sizes.seconds) + 15
    tasks = [
        {"type": "bench.pulse", "payload": {"beats": beats, "every": 1.0, "wait": n / count}} for n in range(count)
    ]
    ids: list[str] = []
    headers = {"Authorization": f"Bearer {stand.plan.key}"}
    async with aiohttp.ClientSession(
        headers=headers, json_serialize=lambda value: orjson.dumps(value).decode()
    ) as http:
        for some in in_hundreds(tasks):
            async with http.post(f"{stand.plan.url}/v1/tasks/batch", json={"tasks": some}) as response:
                results = (await response.json()).get("results", [])
                if len(results) != len(some) or any(result["status"] != 202 for result in results):
                    raise MilepostError(f"The api took none, or not all, of a batch: {response.status} {results[:1]}")
                ids += [result["task"]["id"] for result in results]
    return ids


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except asyncio.CancelledError:
        sys.exit(Exit.INTERRUPTED)
