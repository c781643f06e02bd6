"""What is done to each relay, and what is noted of it."""

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.relay.client import Client
from benchmarks.relay.feeds import Subject, Written, in_batches, progress, steadily, whole
from benchmarks.relay.relays import Relay
from milepost_schemas import EventKind

OPEN_AT_ONCE = 200
SETTLE_S = 1.0
GOOD_P99_MS = 200.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Figures:
    """One relay's figures by name; None where it has none."""

    relay: str
    values: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is."""

    connections: int = 5_000
    rate: float = 5_000
    seconds: float = 15.0
    watchers: int = 1_000

    def scaled(self, scale: float) -> "Sizes":
        """Return them times `scale`."""
        return Sizes(
            max(20, int(self.connections * scale)), max(20.0, self.rate * scale), self.seconds,
            max(10, int(self.watchers * scale)),
        )  # fmt: skip


async def begin(relay: Relay, subjects: Sequence[Subject]) -> None:
    """Let tasks have started."""
    await in_batches(relay.feed, (whole(subject, EventKind.STARTED, "running") for subject in subjects))
    if isinstance(relay.feed, Written):
        await relay.feed.arrived(subjects)
    await asyncio.sleep(SETTLE_S)


async def measured(client: Client, relay: Relay, subjects: Sequence[Subject], rate: float, seconds: float) -> Any:
    """Publish steadily; return the client's report, with the relay's CPU seconds and how many were sent."""
    await client.ask("reset")
    before = relay.cpu()
    sent = await steadily(relay.feed, subjects, rate, seconds)
    await asyncio.sleep(SETTLE_S)
    report = await client.ask("report")
    return report | {"relay_cpu": relay.cpu() - before, "sent": sent, "offered_s": seconds}


def _per_100_000(seconds: float, events: float) -> float | None:
    return round(seconds / events * 100_000, 2) if events else None


async def own_tasks(program: Path, relay: Relay, sizes: Sizes, say: Say) -> Figures:
    """Everybody watches a task of his own: memory, CPU, latency; then all come back at once, twice; then all ends."""
    figures = Figures(relay.name)
    note = figures.values
    subjects = [Subject() for _ in range(sizes.connections)]
    await begin(relay, subjects)
    async with Client(program, relay.line, [subject.id for subject in subjects]) as client:
        few = max(1, sizes.connections // 25)
        await client.ask("open", few, OPEN_AT_ONCE)
        await asyncio.sleep(SETTLE_S)
        empty = relay.memory()
        opened = await client.ask("open", sizes.connections, OPEN_AT_ONCE)
        await asyncio.sleep(2 * SETTLE_S)
        note["idle_kib"] = round((relay.memory() - empty) / (sizes.connections - few) / 1024, 1)
        note["open_s"] = round(opened["seconds"], 2)
        await measured(client, relay, subjects, sizes.rate, 3.0)
        report = await measured(client, relay, subjects, sizes.rate, sizes.seconds)
        note["cpu"] = _per_100_000(report["relay_cpu"], report["events"])
        note["client_cpu"] = _per_100_000(report["cpu"], report["events"])
        note["delivered"] = round(report["events"] / report["offered_s"])
        _latencies(note, report)
        note["lost"] = report["sent"] - report["events"] - report["merged"] if not report["resets"] else None
        note["gaps"] = report["gaps"] + report["backwards"]
        note["busy_kib"] = round((relay.memory() - empty) / (sizes.connections - few) / 1024, 1)
        say(f"{relay.name}: {report}")
        await _storms(client, relay, subjects, note, say)
    return figures


async def _storms(client: Client, relay: Relay, subjects: list[Subject], note: dict[str, Any], say: Say) -> None:
    await client.ask("reset")
    count = len(subjects)
    storm = await client.ask("storm", count, 1)
    note["storm_fresh_s"] = round(storm["seconds"], 2)
    # Everybody has something to be told, and every tenth that his task is over, while nobody is there.
    cut = asyncio.create_task(client.ask("storm", count, 0))
    await asyncio.sleep(0.05)
    ends = [whole(subject, EventKind.SUCCEEDED, "succeeded") for subject in subjects[::10]]
    ended = {event.task for event in ends}
    await in_batches(relay.feed, ends)
    await in_batches(relay.feed, (progress(subject) for subject in subjects if subject.id not in ended))
    note["storm_resume_s"] = round((await cut)["seconds"], 2)
    report = await client.until_ended(len(ended), 10.0)
    missed = len(ended) - report["ended"]
    left = [subject for subject in subjects if subject.id not in ended]
    await in_batches(relay.feed, (whole(subject, EventKind.SUCCEEDED, "succeeded") for subject in left))
    report = await client.until_ended(count, 20.0)
    note["missed_ends"] = max(missed, count - report["ended"])
    note["storm_gaps"] = report["gaps"] + report["backwards"]
    say(f"{relay.name}: {report}")


def _latencies(note: dict[str, Any], report: dict[str, Any]) -> None:
    note |= {name: round(report[name], 1) for name in ("p50_ms", "p95_ms", "p99_ms")}


async def fan_out(program: Path, relay: Relay, sizes: Sizes, say: Say) -> Figures:
    """Everybody watches one task, which tells more and more, until the p99 is no longer good."""
    figures = Figures(relay.name)
    note = figures.values
    subject = Subject()
    await begin(relay, [subject])
    async with Client(program, relay.line, [subject.id]) as client:
        await client.ask("open", sizes.watchers, OPEN_AT_ONCE)
        await measured(client, relay, [subject], 20, 2.0)
        for rate in (30, 45, 60, 75, 90, 105):
            report = await measured(client, relay, [subject], rate, 4.0)
            say(f"{relay.name} at {rate}: {report}")
            if report["p99_ms"] > GOOD_P99_MS or report["events"] + report["merged"] < report["sent"] * sizes.watchers:
                break
            delivered = round(report["events"] / report["offered_s"])
            if delivered > (note.get("delivered") or 0.0):
                note["delivered"] = delivered
                note["merged"] = report["merged"]
                note["fan_cpu"] = _per_100_000(report["relay_cpu"], report["events"])
                note["fan_p99_ms"] = round(report["p99_ms"], 1)
    return figures


async def stopped_reader(program: Path, relay: Relay, sizes: Sizes, say: Say) -> Figures:
    """One connection, to which much is sent, reads no more: by turns with it reading, what that does to the others."""
    figures = Figures(relay.name)
    busy, shared = Subject(), Subject()
    await begin(relay, [busy, shared])
    watchers = max(10, sizes.watchers // 2)
    reading, stopped = [], []
    async with Client(program, relay.line, [busy.id, *[shared.id] * (watchers - 1)]) as client:
        await client.ask("open", watchers, OPEN_AT_ONCE)
        mix = [shared, *[busy] * 30]
        await measured(client, relay, mix, 31 * 25, 2.0)
        for _ in range(4):
            reading.append((await measured(client, relay, mix, 31 * 25, 3.0))["p99_ms"])
            await client.ask("stop", 1)
            await steadily(relay.feed, mix, 31 * 25, 2.0)
            stopped.append((await measured(client, relay, mix, 31 * 25, 3.0))["p99_ms"])
            await client.ask("resume")
            await asyncio.sleep(SETTLE_S)
    say(f"{relay.name}: all read {reading}; one does not {stopped}")
    figures.values["others_p99_ms"] = round(statistics.median(reading), 1)
    figures.values["stopped_p99_ms"] = round(statistics.median(stopped), 1)
    return figures


async def from_calls(program: Path, relay: Relay, tasks: Sequence[str], seconds: float, say: Say) -> Figures:
    """From the worker's call on: real tasks tell progress, everybody watches one of them."""
    figures = Figures(relay.name)
    async with Client(program, relay.line, tasks) as client:
        await client.ask("open", len(tasks), OPEN_AT_ONCE)
        await asyncio.sleep(2 * SETTLE_S)
        await client.ask("reset")
        before = relay.cpu()
        await asyncio.sleep(seconds)
        report = await client.ask("report")
        used = relay.cpu() - before
        say(f"{relay.name}: {report}")
        ended = await client.until_ended(len(tasks), 60.0)
    _latencies(figures.values, report)
    figures.values["delivered"] = round(report["events"] / report["seconds"])
    figures.values["cpu"] = _per_100_000(used, report["events"])
    figures.values["gaps"] = report["gaps"] + report["backwards"]
    figures.values["missed_ends"] = len(tasks) - ended["ended"]
    return figures


def in_hundreds(items: Sequence[Any]) -> list[list[Any]]:
    """Return items a hundred at a time."""
    rest = iter(items)
    return [some for _ in range(0, len(items), 100) if (some := list(islice(rest, 100)))]
