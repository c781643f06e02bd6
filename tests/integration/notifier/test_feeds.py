"""Feeds on real WebSockets, through a real Redis."""

from typing import Any

from redis.asyncio import Redis

from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost_notifier.edge import Edge
from tests.integration.notifier.acting import Living, Postgres, Server, Watcher, watcher_of
from tests.integration.notifier.conftest import edge_of
from tests.integration.notifier.test_watching import until


async def listen(watcher: Watcher) -> None:
    await watcher.send({"t": "sub", "id": 1, "feed": "tasks"})
    assert await watcher.next() == {"t": "live", "id": 1}


async def changes_until(watcher: Watcher, task: Living) -> list[dict[str, Any]]:
    """Return the changes up to where the task is now."""
    found: list[dict[str, Any]] = []
    while not any(change["task"] == str(task.id) and change["at"] == list(task.at) for change in found):
        frame = await watcher.next()
        if frame["t"] == "changes":
            found += frame["changes"]
    return found


async def test_a_feed_tells_of_every_task_of_the_tenant_and_of_no_other(edge: Edge, snapshots: Snapshots) -> None:
    one, two, foreign = Living(), Living(), Living(tenant="other")
    async with watcher_of(edge) as watcher:
        await listen(watcher)
        await snapshots.apply([one.queued(), foreign.queued(), two.queued(), one.started(), foreign.started()])
        await snapshots.apply([one.progress(1), two.started(), two.succeeded(), one.succeeded()])
        found = await changes_until(watcher, one)
    assert {change["task"] for change in found} == {str(one.id), str(two.id)}
    kinds = [change["kind"] for change in found if change["task"] == str(one.id)]
    assert kinds == ["queued", "started", "progress", "succeeded"]
    state: dict[str, Any] = {}
    for change in found:
        if change["task"] == str(one.id):
            state |= change["data"]
    assert state == one.task


async def test_who_listens_last_leaves_the_channel(edge: Edge, snapshots: Snapshots, redis: Redis) -> None:
    async with watcher_of(edge) as first:
        await listen(first)
        async with watcher_of(edge) as second:
            await listen(second)
        task = Living()
        await snapshots.apply([task.queued()])
        assert await changes_until(first, task)
    await until(lambda: not list(edge._feeds.channels))
    numsub: Any = redis.pubsub_numsub("mp:default:feed")
    while (await numsub)[0][1]:
        numsub = redis.pubsub_numsub("mp:default:feed")


async def test_a_feed_survives_the_audit_of_channels(edge: Edge, snapshots: Snapshots) -> None:
    async with watcher_of(edge) as watcher:
        await listen(watcher)
        await edge.audit()
        task = Living()
        await snapshots.apply([task.queued()])
        assert await changes_until(watcher, task)


async def test_a_feed_says_that_it_missed_something_when_redis_was_away(
    settings: Settings, redis: Redis, postgres: Postgres, snapshots: Snapshots, redis_server: Server
) -> None:
    async with edge_of(settings, redis, postgres) as edge, watcher_of(edge) as watcher:
        await listen(watcher)
        redis_server.stop()
        redis_server.start()
        frame = await watcher.until(lambda frame: frame["t"] == "live")
        assert frame == {"t": "live", "id": 1, "reset": True}
        task = Living()
        await snapshots.apply([task.queued()])
        assert await changes_until(watcher, task)
