"""A page may watch more than one connection carries."""

import orjson
import pytest

from milepost.client import Client
from tests.conftest import eventually
from tests.e2e.browser.conftest import MOST_SUBS, Show, Ways

pytestmark = pytest.mark.stack

LONG = {"to": 2_000, "delay": 0.05}


async def test_more_watches_than_one_connection_carries_have_another_for_as_long_as_it_is_needed(
    show: Show, ways: Ways, client: Client
) -> None:
    shown = await show("demo.count", LONG, events=None, api=None)
    await shown.gets(1)
    runs = [await client.submit("demo.count", LONG) for _ in range(MOST_SUBS + 1)]
    before = ways.stream.accepted
    await shown.tab.run(f"more({orjson.dumps([str(run.id) for run in runs]).decode()})")
    await shown.tab.shows("many.every((watch) => watch.task?.progress?.done >= 1)")
    assert (ways.stream.accepted, ways.stream.open) == (before + 1, 2)
    for run in runs:
        await run.cancel()
    await shown.tab.shows("many.every((watch) => watch.task.state === 'cancelled')")

    async def one_is_left() -> bool:
        return ways.stream.open == 1

    await eventually(one_is_left, "the second connection to be closed")
    await shown.gets(await shown.tab.run("one.task.progress.done") + 5)
    await shown.is_cancelled()
    assert shown.vias == ["stream"]
