"""The feed in Python: lists and dashboards that follow many tasks at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from milepost import SyncClient
from milepost.client import Client, FeedEvent
from milepost.errors import Forbidden, Unauthenticated
from milepost_schemas.feed import FeedFilter
from tests.proxy import proxy_to
from tests.system import System

pytestmark = pytest.mark.stack


async def _until(feed: AsyncIterator[FeedEvent], kind: str, count: int = 1) -> list[FeedEvent]:
    """Return what comes up to the last of so many of a kind."""
    events: list[FeedEvent] = []
    async with asyncio.timeout(30):
        while sum(event.kind == kind for event in events) < count:
            events.append(await anext(feed))
    return events


async def test_it_tells_every_change_of_the_tasks_it_is_asked_for_and_of_no_others(system: System) -> None:
    async with system.client() as client:
        feed = client.feed(FeedFilter(labels={"list": "mine"}))
        [live] = await _until(feed, "live")
        assert (live.reset, live.task) == (False, None)
        other = await client.submit("demo.echo", {}, labels={"list": "theirs"})
        mine = [await client.submit("demo.echo", {}, labels={"list": "mine"}) for _ in range(3)]
        events = await _until(feed, "succeeded", 3)
        assert {event.task for event in events} == {run.id for run in mine}
        assert other.id not in {event.task for event in events}
        for run in mine:
            chain = [event for event in events if event.task == run.id]
            assert chain[0].kind == "queued"
            assert chain[0].data["type"] == "demo.echo", "the first change has the whole task"
            positions = [event.at for event in chain]
            assert positions == sorted(positions, key=lambda at: (at is not None, at))


async def test_after_a_connection_that_broke_it_says_that_changes_were_missed(system: System) -> None:
    port = system.streams[0].removesuffix("/v1/stream").rpartition(":")[2]
    async with proxy_to(int(port)) as line:
        broken = f"ws://127.0.0.1:{line.port}/v1/stream"
        async with Client(system.url, system.key, stream_url=broken) as client:
            feed = client.feed()
            await _until(feed, "live")
            line.cut()
            again = await _until(feed, "live")
            assert again[-1].reset
            run = await client.submit("demo.echo", {})
            events = await _until(feed, "succeeded")
            assert run.id in {event.task for event in events}


async def test_several_feeds_and_watches_share_a_client(system: System) -> None:
    async with system.client() as client:
        one, two = client.feed(FeedFilter(queue="slow")), client.feed()
        await _until(one, "live")
        await _until(two, "live")
        run = await client.submit("demo.echo", {}, queue="slow")
        assert [event.kind async for event in run.watch()][-1] == "succeeded"
        assert run.id in {event.task for event in await _until(one, "succeeded")}
        assert run.id in {event.task for event in await _until(two, "succeeded")}
        await one.aclose()  # type: ignore[attr-defined]
        run = await client.submit("demo.echo", {}, queue="slow")
        assert run.id in {event.task for event in await _until(two, "succeeded")}


async def test_who_may_not_listen_is_told_so(system: System) -> None:
    async with system.client() as client:
        run = await client.submit("demo.echo", {})
        token = await client.watch_token(task=run.id)
    async with Client(system.url, token, stream_url=system.streams[0]) as watcher:
        with pytest.raises(Forbidden):
            await anext(watcher.feed())
    async with Client(system.url, "wrong", stream_url=system.streams[0]) as stranger:
        with pytest.raises(Unauthenticated):
            await anext(stranger.feed())


def _first_two(system: System) -> list[str]:
    with SyncClient(system.url, system.key, stream_url=system.streams[0]) as client:
        kinds = []
        for event in client.feed(FeedFilter(labels={"list": "plain"})):
            kinds.append(event.kind)
            if event.kind == "live":
                client.submit("demo.echo", {}, labels={"list": "plain"})
            else:
                return kinds
    return kinds


async def test_without_a_loop_too(system: System) -> None:
    assert await asyncio.to_thread(_first_two, system) == ["live", "queued"]
