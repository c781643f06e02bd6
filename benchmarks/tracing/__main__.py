"""`make bench-tracing`: what the main job costs with tracing off and on, by turns, in CPU seconds."""

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import orjson

from benchmarks.tracing.systems import HERE, dropping, receiving, system
from milepost.cli.bench import cpu
from milepost.cli.bench.command import SETTINGS
from milepost.cli.bench.scenarios import SCENARIOS, Scenario, Target, run
from milepost.embedded import temporary_home
from milepost.errors import MilepostError

OFF, ON, AGAINST = "off", "on", "against"
_SERVICES: Final = {"api": "api", "worker-0": "worker", "notifier-0": "notifier"}
_SETTLE_S: Final = 1.2
"""After a turn, so that what waits to be sent (OTEL_BSP_SCHEDULE_DELAY) is in it."""
_TASKS: Final = {"single": 4_000, "batch": 12_000}

Turn = dict[str, float]
"""CPU s per 1,000 tasks, of each service and of all."""


def main(argv: list[str]) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-tracing", description=__doc__)
    parser.add_argument("--starts", type=int, default=3, help="how often the systems start: each start has its luck")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each, for every start")
    parser.add_argument("--scenario", choices=sorted(_TASKS), action="append", help="only this one")
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="another checkout, whose .venv is ready: off there"
    )
    parser.add_argument("--without-on", action="store_true", help="only off, and the other checkout")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    variants = {OFF: HERE} | ({} if asked.without_on else {ON: HERE})
    if asked.against is not None:
        variants[AGAINST] = (asked.against / ".venv/bin/milepost").absolute()
    try:
        turns = asyncio.run(_measure(variants, asked.scenario or sorted(_TASKS, reverse=True), asked))
    except MilepostError as error:
        print(f"bench-tracing: {error}", file=sys.stderr)
        return 1
    print(orjson.dumps(turns).decode() if asked.json else _shown(turns))
    return 0


async def _measure(
    variants: Mapping[str, Path], scenarios: Sequence[str], asked: argparse.Namespace
) -> dict[str, dict[str, list[Turn]]]:
    """Return the turns of each scenario and variant; those with the same index were neighbours."""
    turns: dict[str, dict[str, list[Turn]]] = {name: defaultdict(list) for name in scenarios}
    order = list(variants)
    for start in range(asked.starts):
        with temporary_home("bench-tracing") as home:
            async with AsyncExitStack() as running:
                receiver = await running.enter_async_context(receiving())
                targets = {}
                for variant in order:
                    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver} if variant == ON else {}
                    (home / variant).mkdir()
                    one = system(variants[variant], home / variant, SETTINGS | traced)
                    targets[variant] = await running.enter_async_context(one)
                    await run(targets[variant], replace(SCENARIOS["single"], tasks=1_000))
                for round_ in range(asked.rounds):
                    print(f"start {start + 1}, round {round_ + 1}", file=sys.stderr)
                    for name in scenarios:
                        # Whoever comes first has another neighbour each time.
                        for variant in order:
                            scenario = replace(SCENARIOS[name], tasks=_TASKS[name])
                            turns[name][variant].append(await _turn(targets[variant], scenario))
                        order.append(order.pop(0))
                if ON in targets and (services := dropping(targets[ON])):
                    print(f"Spans were dropped, so on is too cheap: {', '.join(services)}", file=sys.stderr)
    return turns


async def _turn(target: Target, scenario: Scenario) -> Turn:
    before = cpu.used(target.run)
    await run(target, scenario)
    await asyncio.sleep(_SETTLE_S)
    after = cpu.used(target.run)
    used = {name: (after[pid] - before[pid]) * 1000 / scenario.tasks for pid, name in _SERVICES.items()}
    return used | {"sum": sum(used.values())}


def _shown(turns: Mapping[str, Mapping[str, Sequence[Turn]]]) -> str:
    lines = []
    for name, variants in turns.items():
        lines.append(f"{name}: CPU s per 1,000 tasks, medians of {len(variants[OFF])} turns of {_TASKS[name]:,} tasks")
        columns = [*_SERVICES.values(), "sum"]
        for variant, taken in variants.items():
            medians = "  ".join(f"{column} {median(turn[column] for turn in taken):.4f}" for column in columns)
            lines.append(f"  {variant:8}{medians}")
        for more, less in ((ON, OFF), (OFF, AGAINST)):
            if more in variants and less in variants:
                ratios = "  ".join(f"{column} {_ratio(variants[more], variants[less], column)}" for column in columns)
                lines.append(f"  {more} to {less}, neighbours: {ratios}")
    lines.append("Behind a ratio, which is a median: its quartiles.")
    return "\n".join(lines)


def _ratio(more: Sequence[Turn], less: Sequence[Turn], column: str) -> str:
    ratios = [one[column] / other[column] for one, other in zip(more, less, strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
