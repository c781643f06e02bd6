"""Lines of log and output, from the handler to who watches."""

import asyncio
import itertools
import json
import time
from pathlib import Path

import pytest

from milepost.client import Client, Run, RunEvent
from milepost.tasks.loglines import BURST_LINES
from tests.conftest import eventually
from tests.integration.client.test_command_line import milepost
from tests.proxy import proxy_to
from tests.system import System

pytestmark = pytest.mark.stack


def text_of(events: list[RunEvent]) -> str:
    """Return all output, joined."""
    return "".join(event.data["chunk"] for event in events if event.kind == "output")


def lines_of(events: list[RunEvent]) -> list[int]:
    """Return the numbers of the words that lines of log announce."""
    return [event.data["fields"]["word"] for event in events if event.kind == "log"]


def unbroken(events: list[RunEvent]) -> bool:
    """Return whether every number of an epoch is accounted for from the first snapshot on; a tail has holes."""
    first = next((at for at, event in enumerate(events) if event.kind == "snapshot"), 0)
    told = events[first:]
    return all(
        event.at.epoch > before.at.epoch or event.at.seq - event.merged <= before.at.seq + 1
        for before, event in itertools.pairwise(told)
    )


def words(number: int) -> str:
    return "".join(f"{n} " for n in range(number))


@pytest.mark.parametrize("type_", ["test.speak", "test.thread_speak", "test.process_speak"])
async def test_what_a_handler_streams_comes_whole_in_order_and_joined(system: System, type_: str) -> None:
    async with system.client() as client:
        run = await client.submit(type_, {"words": 300})
        began = time.monotonic()
        events = [event async for event in run.watch(tail=256)]
        took = time.monotonic() - began
    assert events[-1].kind == "succeeded"
    assert text_of(events) == words(300)
    assert lines_of(events) == list(range(0, 300, 10))
    assert unbroken(events)
    assert [event.at for event in events] == sorted({event.at for event in events})
    for at, event in enumerate(events):
        if event.kind == "log":
            # Neither overtakes the other.
            assert text_of(events[:at]) == words(event.data["fields"]["word"])
    # The lines break the output thirty times; each stretch would be one or two events by itself.
    assert sum(event.kind == "output" for event in events) <= 30 + 11 * took + 5


async def test_a_models_tokens_are_few_events_and_soon_there(system: System) -> None:
    async with system.client() as client:
        for type_ in ("test.speak", "test.process_speak"):
            run = await client.submit(type_, {"words": 500, "pause": 0.005, "line_every": 1000})
            came = [time.monotonic() async for event in run.watch() if event.kind == "output"]
            rate = (len(came) - 1) / (came[-1] - came[0])
            longest = max(later - before for before, later in itertools.pairwise(came))
            print(f"{type_}: {rate:.1f} events/s, longest gap {longest * 1000:.0f} ms")  # noqa: T201
            assert rate < 11
            assert longest < 2.0


async def test_ten_thousand_lines_are_told_in_part_and_the_rest_is_counted(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("test.log_lines", {"lines": 10_000})
        events = [event async for event in run.watch(tail=256)]
        await run.result(timeout=30)
    lines = [event.data["fields"]["number"] for event in events if event.data.get("message") == "a line"]
    (told,) = [event for event in events if event.data.get("level") == "warning"]
    assert lines == sorted(set(lines))
    assert len(lines) >= BURST_LINES
    assert len(lines) + told.data["fields"]["lines"] == 10_000
    assert unbroken(events)


async def test_who_comes_late_gets_the_last_of_it_ahead_of_the_snapshot(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with system.client() as client:
        run = await client.submit("test.speak", {"words": 100, "path": str(gate)})

        async def spoken() -> bool:
            return (await run.refresh()).progress is not None

        await eventually(spoken, "the handler to speak", 30)
        all_of_it = asyncio.create_task(collected(run, tail=256))
        await asyncio.sleep(0)
        gate.touch()
        await all_of_it
        late = [event async for event in client.run(run.id).watch(tail=256)]
        last = [event async for event in client.run(run.id).watch(tail=2)]
        nothing = [event async for event in client.run(run.id).watch()]
    assert text_of(all_of_it.result()) == text_of(late) == words(100)
    assert [event.kind for event in last][2:] == ["succeeded"]
    assert last[:2] == late[-3:-1]
    assert [event.kind for event in nothing] == ["succeeded"]


async def collected(run: Run, tail: int = 0) -> list[RunEvent]:
    """Return all that a watch yields."""
    return [event async for event in run.watch(tail=tail)]


async def test_each_line_comes_once_over_connections_that_break(system: System) -> None:
    port = system.streams[0].removesuffix("/v1/stream").rpartition(":")[2]
    async with proxy_to(int(port)) as line:
        broken = f"ws://127.0.0.1:{line.port}/v1/stream"
        async with Client(system.url, system.key, stream_url=broken) as client:
            run = await client.submit("test.speak", {"words": 1000})
            events: list[RunEvent] = []
            async for event in run.watch(tail=256):
                events.append(event)
                if len(events) % 20 == 0:
                    line.cut()
            assert line.accepted > 3
    assert text_of(events) == words(1000)
    assert lines_of(events) == list(range(0, 1000, 10))


async def test_the_command_line_shows_it_by_lines_if_asked_to(system: System) -> None:
    argv = ("submit", "test.speak", "--payload", '{"words": 20}', "--watch")
    status, out, _ = await milepost(system, *argv, "--logs")
    assert status == 0
    said = [line.partition(": ")[2] for line in out.splitlines()]
    assert [line for line in said if line.startswith("to come")] == ["to come word=0", "to come word=10"]
    shown = "".join(line.partition(" words: ")[2] for line in out.splitlines())
    assert shown == words(20)
    status, out, _ = await milepost(system, *argv)
    assert status == 0
    assert "to come" not in out
    status, out, _ = await milepost(system, *argv, "--json")
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert {"log", "output"} <= set(kinds)
