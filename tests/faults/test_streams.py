"""Lines of log and output while what carries them breaks; the auditor finds every number used once."""

import asyncio
from contextlib import aclosing

import pytest

from milepost.client import Client, Run
from milepost.embedded import Stack
from tests.conftest import MakeSettings, eventually
from tests.integration.client.test_streams import collected, lines_of, text_of, words
from tests.scene import audited as running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(240)]

WORDS = 1_500
PAUSE_S = 0.015
SPEAKERS = ("test.speak", "test.thread_speak", "test.process_speak")


async def _speaking(client: Client) -> list[Run]:
    """Return tasks of all sorts that have begun to speak."""
    runs = [await client.submit(type_, {"words": WORDS, "pause": PAUSE_S}) for type_ in SPEAKERS]

    async def all_begun() -> bool:
        return all([(await run.refresh()).started_at is not None for run in runs])

    await eventually(all_begun, "all handlers to have begun", 60)
    return runs


async def _some_spoken(runs: list[Run]) -> None:
    """Wait until a watcher of each has heard some of it."""

    async def heard(run: Run) -> None:
        chunks = 0
        async with aclosing(run.watch()) as events:
            async for event in events:
                chunks += event.kind == "output"
                if chunks > 10:
                    return

    await asyncio.gather(*map(heard, runs))


async def _watched_through(fault: asyncio.Task[None], runs: list[Run]) -> None:
    """Watch to the end; each word and each line has to come once, whatever happens meanwhile."""
    watches = [asyncio.create_task(collected(run, tail=256)) for run in runs]
    for run, watch in zip(runs, watches, strict=True):
        events = await watch
        assert events[-1].kind == "succeeded"
        assert text_of(events) == words(WORDS), run
        assert lines_of(events) == list(range(0, WORDS, 10)), run
    await fault


async def test_each_line_comes_once_although_the_notifier_was_killed(fresh: MakeSettings) -> None:
    async with running(await fresh()) as system, system.client() as client:
        runs = await _speaking(client)

        async def kill() -> None:
            await _some_spoken(runs)
            system.notifiers[0].kill()
            await system.notifiers[0].start()
            await system.ready(system.notifier_urls[0])

        await _watched_through(asyncio.create_task(kill()), runs)


@pytest.mark.long
async def test_nothing_is_lost_while_kafka_is_away_for_a_moment(fresh: MakeSettings, stack: Stack) -> None:
    async with running(await fresh()) as system, system.client() as client:
        runs = await _speaking(client)

        async def restart() -> None:
            await _some_spoken(runs)
            await stack.kafka[0].stop()
            await stack.kafka[0].start()

        await _watched_through(asyncio.create_task(restart()), runs)
