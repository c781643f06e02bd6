"""Figures side by side, with ratios to Milepost's."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.relay.scenarios import Figures, Sizes

_TITLES: Final = {
    "own": "{connections:,} connections, each its own task; {rate:,.0f} events/s fed to Redis (Nchan: by HTTP)",
    "fan-out": "one task, {watchers:,} connections: the most that arrives with p99 below 200 ms and nothing lost",
    "stopped": "one reader of one task stops: p99 of the others",
    "whole": "{connections:,} connections, each its own task; {rate:,.0f} events/s through Kafka, ingest and edge",
    "hostile": "honest connections, each its own task, while hostile clients go at nobody, a decoy, the relay",
    "calls": "from ctx.progress in a worker to the client: 1 event/s of each task, each watched by one connection",
}
_NAMES: Final = {
    "idle_kib": "memory of an idle connection, KiB",
    "busy_kib": "the same after events, KiB",
    "open_s": "opened, s",
    "delivered": "delivered/s",
    "cpu": "relay, CPU s per 100,000 deliveries",
    "merged": "events that newer ones took the place of",
    "fan_cpu": "relay, CPU s per 100,000 deliveries",
    "relay_busy": "relay, cores busy",
    "attackers_busy": "attackers, cores busy",
    "attempts": "attacks a second",
    "resets": "snapshots in place of events",
    "client_cpu": "load client, CPU s per 100,000",
    "p50_ms": "p50, ms",
    "p95_ms": "p95, ms",
    "p99_ms": "p99, ms",
    "fan_p99_ms": "p99, ms",
    "others_p99_ms": "all read: p99, ms",
    "stopped_p99_ms": "one does not: p99 of the others, ms",
    "lost": "lost",
    "gaps": "gaps nobody spoke of",
    "storm_fresh_s": "all cut, all back with the whole state, s",
    "storm_resume_s": "all cut, all back and told what they missed, s",
    "storm_gaps": "gaps in it nobody spoke of",
    "missed_ends": "ends missed",
}


def show(scenario: str, rows: Sequence[Figures], sizes: Sizes) -> None:
    """Print a scenario's figures."""
    title = _TITLES[scenario].format(connections=sizes.connections, rate=sizes.rate, watchers=sizes.watchers)
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for row in rows:
        table.add_column(row.relay, justify="right")
    others = rows[1:]
    for row in others:
        table.add_column(f"{row.relay} / {rows[0].relay}", justify="right")
    for name, words in _NAMES.items():
        if name in rows[0].values:
            first = rows[0].values[name]
            table.add_row(
                words,
                *(_number(row.values.get(name)) for row in rows),
                *(_ratio(row.values.get(name), first) for row in others),
            )
    Console(width=140).print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _ratio(value: float | None, first: float | None) -> str:
    return f"{value / first:.2f}" if value is not None and first else "-"
