"""Clients on real WebSockets, events in a real Redis."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from redis.asyncio import Redis

from milepost.live import Channels, Snapshots
from milepost.runtime.settings import Settings
from milepost_notifier import resolver
from milepost_notifier.edge import Edge
from milepost_notifier.limits import Limits
from milepost_schemas.event import EventKind
from milepost_schemas.position import Position
from tests.integration.notifier.acting import KEY, Living, Postgres, Server, Watcher, line_to, watcher_of
from tests.integration.notifier.conftest import edge_of

OLD = UUID("01890000-0000-7000-8000-000000000001")
TASKS = "mp:[a-z]*"
"""Channels of tenants: all but those whose names no tenant has."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no client is told."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_task_is_watched_from_the_queue_to_its_end(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        assert (await watcher.next())["task"] == task.task
        for event in (task.started(), task.progress(1), task.log("hello"), task.progress(2)):
            await snapshots.apply([event])
            assert (await watcher.next())["at"] == list(event.at)
        await snapshots.apply([task.succeeded({"n": 1})])
        assert (await watcher.end())["task"] == task.task
        assert edge.channels.connected
        await until(lambda: not edge.watching)


async def test_who_joins_late_and_who_was_there_end_with_the_same_state(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    async with watcher_of(edge) as early, watcher_of(edge) as late:
        await snapshots.apply([task.queued(), task.started()])
        await early.sub(task.id)
        await early.next()
        await snapshots.apply([task.progress(n) for n in range(300)])
        await early.at(task.at)
        await late.sub(task.id)
        assert (await late.next())["at"] == list(task.at)
        await snapshots.apply([task.progress(999), task.succeeded()])
        ends = [await early.end(), await late.end()]
    assert ends[0] == ends[1]
    assert early.clients[1].task == late.clients[1].task == task.task
    assert early.clients[1].resets == late.clients[1].resets == 0


async def test_a_finished_task_gives_snap_and_end(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), task.succeeded()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        assert [(await watcher.next())["t"] for _ in range(2)] == ["snap", "end"]


async def test_a_client_that_comes_back_gets_what_it_missed(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), task.log("a"), task.log("b"), task.log("c")])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id, since=[1, 1])
        assert [(await watcher.next())["data"]["line"] for _ in range(2)] == ["b", "c"]


async def test_a_client_that_was_away_for_long_is_told_that_it_missed_something(
    edge: Edge, snapshots: Snapshots
) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started()])
    await snapshots.apply([task.progress(n) for n in range(600)])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id, since=[1, 1])
        frame = await watcher.next()
        assert (frame["t"], frame["reset"], frame["at"]) == ("snap", True, list(task.at))


async def test_a_task_that_redis_does_not_know_is_read_from_postgres_once(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    task = Living(postgres)
    async with watcher_of(edge) as one, watcher_of(edge) as two:
        await one.sub(task.id)
        assert (await one.next())["task"] == task.task
        await two.sub(task.id)
        assert (await two.next())["task"] == task.task
        assert postgres.asked == 1
        await snapshots.apply([task.started(), task.succeeded()])
        assert (await one.end())["task"] == (await two.end())["task"] == task.task


async def test_who_watches_before_the_first_event_is_answered_by_it(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "AWAIT_S", 3600.0)
    task = Living(postgres)
    async with watcher_of(edge) as watcher, asyncio.timeout(20):
        await watcher.sub(task.id)
        while not await redis.pubsub_channels():
            await asyncio.sleep(0.005)
        await snapshots.apply([task.queued()])
        assert (await watcher.next())["task"] == task.task
        await snapshots.apply([task.started(), task.succeeded()])
        assert (await watcher.end())["task"] == task.task
    assert postgres.asked == 0


async def test_a_young_task_that_never_comes_is_asked_for_after_a_moment(edge: Edge, postgres: Postgres) -> None:
    task = Living(postgres)
    async with watcher_of(edge) as watcher:
        began = asyncio.get_running_loop().time()
        await watcher.sub(task.id)
        assert (await watcher.next())["task"] == task.task
    assert asyncio.get_running_loop().time() - began >= resolver.AWAIT_S
    assert postgres.asked == 1


async def test_tasks_that_nobody_can_tell_of_hold_up_no_others(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    known, unknown = Living(postgres), Living(postgres, task=OLD)
    await snapshots.apply([known.queued()])
    async with watcher_of(edge) as watcher:
        with postgres.away():
            await watcher.sub(unknown.id, 1)
            await watcher.sub(known.id, 2)
            first = await watcher.next()
            assert (first["t"], first["id"]) == ("snap", 2)
        assert (await watcher.next())["task"] == unknown.task


async def test_an_old_task_is_not_waited_for(edge: Edge, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "AWAIT_S", 3600.0)
    task = Living(postgres, task=OLD)
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        assert (await watcher.next())["task"] == task.task


async def test_only_what_comes_after_a_confirmed_subscription_is_followed_by_all_the_rest() -> None:
    messages: list[Any] = []
    channels = Channels(cast("Any", None), messages.extend, cast("Any", None))
    channels._told, channels._unconfirmed = {b"c"}, {b"c": 1}
    stream = asyncio.StreamReader()
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    stream.feed_data(message + b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n" + message)
    stream.feed_eof()
    with pytest.raises(ConnectionError):
        await channels._hear(SimpleNamespace(_reader=stream))
    assert messages == [(b"c", b"m", False), (b"c", b"m", True)]


async def test_tasks_of_nobody_and_of_another_tenant_get_the_same_answer(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    foreign, known = Living(postgres, tenant="other"), Living(tenant="other")
    await snapshots.apply([known.queued(), known.started()])
    async with watcher_of(edge) as watcher:
        answers = []
        for task in (foreign, known, Living()):
            await watcher.sub(task.id)
            answers.append(await watcher.next())
    assert answers[0]["code"] == "not_found"
    assert answers[0] == answers[1] == answers[2]


async def test_a_flush_of_redis_takes_nobody_s_end_away(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, redis: Redis
) -> None:
    task = Living(postgres)
    await snapshots.apply([task.queued(), task.started(), task.progress(1)])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        await redis.flushall()
        task.succeeded()  # its event is lost too: only Postgres knows
        await edge.audit()
        assert (await watcher.end())["task"]["state"] == "succeeded"


async def test_a_task_whose_end_was_lost_and_that_was_deleted_is_not_watched_for_ever(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, redis: Redis
) -> None:
    task = Living(postgres)
    await snapshots.apply([task.queued(), task.started()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        await redis.flushall()
        await postgres.delete(task.id)
        await edge.audit()
        assert (await watcher.next())["code"] == "not_found"


async def test_a_task_goes_on_after_a_flush(edge: Edge, snapshots: Snapshots, postgres: Postgres, redis: Redis) -> None:
    task = Living(postgres)
    await snapshots.apply([task.queued(), task.started()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        await redis.flushall()
        await snapshots.apply([task.progress(5)])
        await watcher.at(task.at)
        await snapshots.apply([task.succeeded()])
        assert (await watcher.end())["task"] == task.task


async def test_an_audit_finds_what_the_channel_lost(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        deliver, edge.channels._deliver = edge.channels._deliver, lambda _messages: None
        await snapshots.apply([task.log("lost"), task.progress(4)])
        await snapshots.ping()
        other = Living()
        async with watcher_of(edge) as second:  # its join shows that the channel has been read so far
            await snapshots.apply([other.queued()])
            await second.sub(other.id)
            await second.next()
        edge.channels._deliver = deliver
        await edge.audit()
        assert (await watcher.next())["data"] == {"line": "lost"}
        assert (await watcher.next())["at"] == list(task.at)


async def test_what_redis_had_missed_is_shown_to_all_once_somebody_s_look_up_mends_it(
    settings: Settings, redis: Redis, edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    task = Living(postgres)
    await snapshots.apply([task.queued()])
    async with edge_of(settings, redis, postgres) as another, watcher_of(edge) as one, watcher_of(another) as other:
        for watcher in (one, other):
            await watcher.sub(task.id, tree=False)
            await watcher.at((0, 0))
        task.at = Position(1, 1)
        lost = task._event(EventKind.WAITING, {"state": "waiting", "attempt": 2})
        with postgres.away():
            task.at = Position(1, 2)
            await snapshots.apply([task._event(EventKind.WAITING, {"state": "waiting"})])
            for watcher in (one, other):
                assert (await watcher.at((1, 2)))["task"]["attempt"] == 0
        async with watcher_of(edge) as third:
            await third.sub(task.id, tree=False)
            assert (await third.next())["task"]["attempt"] == lost.data["attempt"]
        for watcher in (one, other):
            assert (await watcher.next())["task"]["attempt"] == lost.data["attempt"]


async def test_redis_is_restarted_and_every_bar_reaches_its_end(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres, redis_server: Server
) -> None:
    tasks = [Living(postgres) for _ in range(5)]
    async with edge_of(settings, redis, postgres) as edge, watcher_of(edge) as watcher:
        for number, task in enumerate(tasks):
            await snapshots.apply([task.queued(), task.started(), task.progress(number)])
            await watcher.sub(task.id, number)
            await watcher.next()
        redis_server.stop()
        await until(lambda: not edge.channels.connected)
        tasks[0].succeeded()  # while Redis is away; its event is never applied
        redis_server.start()
        assert (await watcher.end())["id"] == 0
        for task in tasks[1:]:
            await snapshots.apply([task.progress(50), task.succeeded()])
        for _ in tasks[1:]:
            await watcher.end()
        for client in watcher.clients.values():
            assert client.task is not None
            assert client.task["state"] == "succeeded"
        assert len(watcher.clients) == len(tasks)


async def test_a_task_can_be_joined_while_redis_is_away(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres, redis_server: Server
) -> None:
    task = Living(postgres)
    async with edge_of(settings, redis, postgres) as edge, watcher_of(edge) as watcher:
        await until(lambda: edge.channels.connected)
        redis_server.stop()
        try:
            await watcher.sub(task.id)
            assert (await watcher.next())["task"] == task.task
        finally:
            redis_server.start()
        await until(lambda: edge.channels.connected)
        await snapshots.apply([task.queued(), task.started(), task.succeeded()])
        assert (await watcher.end())["task"] == task.task


async def test_a_slow_reader_delays_nobody_and_ends_with_the_same_state(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    limits = Limits(soft=64 * 1024, hard=64 * 1024 * 1024, cap=128 * 1024 * 1024)
    task = Living()
    async with (
        edge_of(settings, redis, postgres, limits=limits) as edge,
        line_to(edge, max_queue=1) as stuck,
        watcher_of(edge) as quick,
    ):
        slow = Watcher(stuck)
        await slow.send({"t": "hello", "token": KEY})
        await slow.next()
        await snapshots.apply([task.queued(), task.started()])
        for watcher in (slow, quick):
            await watcher.sub(task.id)
            await watcher.next()
        for _ in range(40):
            await snapshots.apply([task.log("x" * 20_000) for _ in range(20)])
            await quick.at(task.at)
        sessions = [connection.session for connection in edge._connections]
        assert [session is not None and session.lagging for session in sessions].count(True) == 1
        await snapshots.apply([task.progress(99), task.succeeded()])
        assert (await quick.end())["task"] == task.task
        assert (await slow.end())["task"] == task.task
        assert quick.clients[1].resets == 0
        assert len(slow.frames) < len(quick.frames)


async def test_the_client_in_the_documentation_works(edge: Edge, snapshots: Snapshots) -> None:
    document = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(document.split("```python\n")[1].split("```")[0], names)  # noqa: S102 - our own text
    task = Living()
    await snapshots.apply([task.queued()])
    states = []
    async for state in names["watch"](f"ws://127.0.0.1:{edge.port}/v1/stream", KEY, str(task.id)):
        states.append(state["state"])
        if states == ["queued"]:
            await snapshots.apply([task.started(), task.log("x"), task.succeeded()])
    assert states == ["queued", "running", "succeeded", "succeeded"]


async def test_events_that_redis_has_seen_are_not_announced_again(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    events = [task.queued(), task.started(), task.progress(1)]
    assert await snapshots.apply(events) == 3
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        assert await snapshots.apply(events) == 0
        await snapshots.apply([task.progress(2)])
        assert (await watcher.next())["at"] == [1, 2]


async def test_a_client_that_leaves_leaves_nothing_behind(edge: Edge, snapshots: Snapshots, redis: Redis) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        assert len(await redis.pubsub_channels(TASKS)) == 1
    await until(lambda: not edge.clients)
    assert not edge.watching
    async with asyncio.timeout(20):
        while await redis.pubsub_channels(TASKS):
            await asyncio.sleep(0.005)


async def test_a_reset_brings_the_lines_that_progress_would_have_pushed_out(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), task.log("before")])
    known = task.at
    await snapshots.apply([task.log("missed")])
    await snapshots.apply([task.progress(n % 100) for n in range(1000)])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id, since=list(known), tail=256)
        snap = await watcher.next()
    assert snap["reset"] is True
    assert [each["data"]["line"] for each in snap["tail"] if tuple(each["at"]) > known] == ["missed"]


async def test_what_redis_forgot_is_gone_and_what_comes_after_it_is_there(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, redis: Redis
) -> None:
    task = Living(postgres)
    await snapshots.apply([task.queued(), task.started(), task.log("before")])
    await redis.flushall()
    await snapshots.apply([task.log("after")])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id, tail=256)
        snap = await watcher.next()
    assert [each["data"]["line"] for each in snap["tail"]] == ["after"]
    assert snap["task"]["state"] == "running"
