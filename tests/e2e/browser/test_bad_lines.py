"""A page follows its task to the end whatever happens to the line, and shows nothing twice or backwards."""

import pytest
from redis.asyncio import Redis

from tests.e2e.browser.conftest import Show, Ways

pytestmark = pytest.mark.stack

LONG = {"to": 2_000, "delay": 0.05}
ALONE = {"events": None, "api": None}
"""Only by the WebSocket: it has to come back by itself."""


async def test_a_notifier_is_killed_and_another_takes_its_address(show: Show, ways: Ways) -> None:
    shown = await show("demo.count", LONG, **ALONE)
    await shown.gets(5)
    (await ways.lead_elsewhere()).kill()
    await shown.tab.shows("vias.length === 3")
    await shown.gets(await shown.tab.run("one.task.progress.done") + 5)
    await shown.is_cancelled()
    assert shown.vias == ["stream", None, "stream"]


async def test_a_rolling_redeploy_costs_a_moment(show: Show, ways: Ways) -> None:
    shown = await show("demo.count", LONG, **ALONE)
    await shown.gets(5)
    await (await ways.lead_elsewhere()).stop()
    await shown.tab.shows("vias.length === 3")
    await shown.gets(await shown.tab.run("one.task.progress.done") + 5)
    await shown.is_cancelled()
    assert shown.vias == ["stream", None, "stream"]


async def test_redis_loses_its_memory(show: Show, ways: Ways) -> None:
    shown = await show("demo.count", LONG)
    await shown.gets(5)
    redis = Redis.from_url(ways.system.settings.redis_url.get_secret_value())
    await redis.flushdb()
    await redis.aclose()
    await shown.gets(await shown.tab.run("one.task.progress.done") + 20)
    await shown.is_cancelled()
    assert shown.vias == ["stream"]


async def test_a_page_off_the_network_goes_on_where_it_was_once_it_is_back(show: Show) -> None:
    shown = await show("demo.count", LONG)
    await shown.gets(5)
    await shown.tab.offline(offline=True)
    await shown.goes("nothing")
    known = await shown.tab.run("one.task.progress.done")
    await shown.tab.offline(offline=False)
    await shown.goes("stream", within_s=10)
    await shown.gets(known + 5)
    await shown.is_cancelled()
    assert shown.vias == ["stream", None, "stream"]


async def test_a_line_that_fell_silent_is_given_up_when_the_page_is_seen_again(show: Show, ways: Ways) -> None:
    shown = await show("demo.count", LONG, **ALONE)
    await shown.gets(5)
    ways.stream.swallow()
    await shown.tab.hidden(hidden=True)
    await shown.tab.hidden(hidden=False)
    await shown.goes("nothing", within_s=15)
    ways.stream.flow()
    await shown.goes("stream")
    await shown.is_cancelled()


async def test_a_hidden_page_is_in_no_hurry_and_one_that_is_seen_again_is(show: Show, ways: Ways) -> None:
    shown = await show("demo.count", LONG, **ALONE)
    await shown.gets(5)
    await shown.tab.hidden(hidden=True)
    ways.stream.cut()
    await shown.goes("nothing")
    # One that is seen would have been back after half a second.
    await shown.tab.run("new Promise((resolve) => setTimeout(resolve, 2000))")
    assert await shown.tab.run("vias") == ["stream", None]
    await shown.tab.hidden(hidden=False)
    await shown.goes("stream", within_s=3)
    await shown.is_cancelled()


async def test_without_websockets_a_page_takes_server_sent_events(show: Show, ways: Ways) -> None:
    await ways.stream.refuse()
    shown = await show("demo.count", {"to": 100, "delay": 0.05})
    await shown.goes("events")
    assert await shown.tab.run("told.length") < 100
    await shown.ends()
    assert {via for via in shown.vias if via} == {"events"}


async def test_where_neither_gets_through_it_asks(show: Show, ways: Ways) -> None:
    await ways.stream.refuse()
    await ways.events.refuse()
    shown = await show("demo.count", {"to": 100, "delay": 0.05})
    await shown.goes("polling")
    await shown.ends()
    assert {via for via in shown.vias if via} == {"polling"}


async def test_each_way_is_left_for_a_better_one(show: Show, ways: Ways) -> None:
    shown = await show("demo.count", LONG)
    await shown.gets(5)
    await ways.stream.refuse()
    await shown.goes("events")
    await ways.events.refuse()
    await shown.goes("polling")
    await ways.stream.listen()
    await shown.goes("stream")
    await shown.gets(await shown.tab.run("one.task.progress.done") + 5)
    await shown.is_cancelled()
    assert [via for via in shown.vias if via] == ["stream", "events", "polling", "stream"]


async def test_a_busy_page_is_told_less_and_still_the_end(show: Show) -> None:
    shown = await show("demo.count", {"to": 3_000, "delay": 0.001})
    await shown.tab.send("Emulation.setCPUThrottlingRate", rate=20)
    await shown.tab.run("{ const end = performance.now() + 3000; while (performance.now() < end); }")
    await shown.tab.send("Emulation.setCPUThrottlingRate", rate=1)
    await shown.ends()
