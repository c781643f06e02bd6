"""Feeds on real WebSockets, through a real Redis."""

import random
from typing import Any

import pytest
from redis.asyncio import Redis

from milepost.domain.feed_filter import Traits, filter_of
from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost_notifier.edge import Edge
from milepost_schemas.feed import FeedFilter
from tests.integration.notifier.acting import Living, Postgres, Server, Watcher, watcher_of
from tests.integration.notifier.conftest import edge_of
from tests.integration.notifier.test_watching import until


async def listen(watcher: Watcher, number: int = 1, **wanted: Any) -> None:
    frame = {"t": "sub", "id": number, "feed": "tasks"}
    await watcher.send({**frame, "filter": wanted} if wanted else frame)
    assert await watcher.next() == {"t": "live", "id": number}


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


@pytest.mark.parametrize("wanted", [{}, {"type": "t"}], ids=["all", "some"])
async def test_a_task_whose_start_overtook_its_first_event_comes_whole_when_that_comes(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, wanted: dict[str, Any]
) -> None:
    task = Living(postgres, labels={"team": 'é"'})
    async with watcher_of(edge) as watcher:
        await listen(watcher, **wanted)
        queued, started, progress = task.queued(), task.started(), task.progress(3)
        await snapshots.apply([started, progress])
        before = dict(task.task)
        await snapshots.apply([queued, queued])
        await snapshots.apply([task.progress(7), task.succeeded()])
        state: dict[str, Any] = {}
        at: list[int] = []
        for change in await changes_until(watcher, task):
            if "id" in change["data"]:
                assert (change["kind"], change["at"], change["data"]) == ("queued", [1, 1], before)
                assert not state
            if state or "id" in change["data"]:  # see docs/protocol.md
                assert change["at"] > at
                state, at = state | change["data"], change["at"]
    assert state == task.task


async def test_a_filter_lets_its_tasks_through_and_no_others(edge: Edge, snapshots: Snapshots) -> None:
    parent = Living(type="a")
    child = Living(parent_id=str(parent.id), root_id=str(parent.id), labels={"team": "x", "env": "live"})
    last = Living(type="z")
    wanted: list[dict[str, Any]] = [
        {"type": "t"},
        {"labels": {"team": "x"}},
        {"parent": str(parent.id)},
        {"root": str(parent.id)},
        {"type": "a", "labels": {"team": "x"}},
        {"type": "z"},
    ]
    async with watcher_of(edge) as watcher:
        for number, each in enumerate(wanted):
            await listen(watcher, number, **each)
        await snapshots.apply([parent.queued(), child.queued(), parent.started(), child.started(), child.succeeded()])
        await snapshots.apply([last.queued()])
        await changes_until(watcher, last)
        found: dict[int, set[str]] = {number: set() for number in range(len(wanted))}
        for frame in watcher.frames:
            if frame["t"] == "changes":
                found[frame["id"]] |= {change["task"] for change in frame["changes"]}
    one, two = str(parent.id), str(child.id)
    assert list(found.values()) == [{two}, {two}, {two}, {one, two}, set(), {str(last.id)}]


async def test_tasks_from_before_are_looked_up_in_redis_and_postgres_in_few_questions(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    in_redis = [Living(labels={"n": "1"}) for _ in range(50)]
    in_postgres = [Living(postgres, labels={"n": "1"}) for _ in range(50)]
    others = [Living(postgres, labels={"n": "2"}) for _ in range(50)]
    await snapshots.apply([task.queued() for task in in_redis])
    asked = postgres.asked
    async with watcher_of(edge) as watcher:
        await listen(watcher, labels={"n": "1"})
        await snapshots.apply([task.started() for task in (*others, *in_postgres, *in_redis)])
        found = await changes_until(watcher, in_redis[-1])
        assert {change["task"] for change in found} == {str(task.id) for task in (*in_redis, *in_postgres)}
        assert postgres.asked - asked <= 2
        asked = postgres.asked
        await snapshots.apply([task.succeeded() for task in (*others, *in_postgres, *in_redis)])
        await changes_until(watcher, in_redis[-1])
        assert postgres.asked == asked, "who is known is not asked about again"


async def test_what_a_filter_lets_through_is_what_everybody_is_told_of_those_tasks(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    chance = random.Random(7)
    wanted: list[dict[str, Any]] = [{"type": "a"}, {"labels": {"n": "1"}}, {"type": "b", "labels": {"n": "2"}}]
    tasks = [Living(postgres, type=chance.choice("ab"), labels={"n": chance.choice("12")}) for _ in range(60)]
    await snapshots.apply([task.queued() for task in tasks[:20]])  # of the others only Postgres knows, or nobody yet
    async with watcher_of(edge) as watcher:
        await listen(watcher)
        for number, each in enumerate(wanted, start=2):
            await listen(watcher, number, **each)
        acts = [task.queued for task in tasks[40:]] + [task.started for task in tasks for _ in range(3)]
        chance.shuffle(acts)
        for start in range(0, len(acts), 10):
            await snapshots.apply([act() for act in acts[start : start + 10]])
        marks = [Living(type="a", labels={"n": "1"}), Living(type="b", labels={"n": "2"})]
        await snapshots.apply([mark.queued() for mark in marks])
        found: dict[int, list[tuple[str, int, int]]] = {number: [] for number in range(1, 5)}
        ends = {1: marks[1], 2: marks[0], 3: marks[0], 4: marks[1]}
        while any(not seen or seen[-1][0] != str(ends[number].id) for number, seen in found.items()):
            frame = await watcher.next()
            if frame["t"] == "changes":
                found[frame["id"]] += [(change["task"], *change["at"]) for change in frame["changes"]]
    members = {str(task.id): task.task for task in (*tasks, *marks)}
    for number, each in enumerate(wanted, start=2):
        only = filter_of(FeedFilter.model_validate(each))
        expected = [seen for seen in found[1] if only.matches(Traits.of(members[seen[0]]))]  # type: ignore[arg-type]
        assert found[number] == expected
        assert expected


async def test_changes_of_unknown_tasks_wait_for_postgres(edge: Edge, snapshots: Snapshots, postgres: Postgres) -> None:
    task = Living(postgres, type="late")
    async with watcher_of(edge) as watcher, watcher_of(edge) as other:
        await listen(watcher, type="late")
        await listen(other)
        with postgres.away():
            await snapshots.apply([task.started()])
            await changes_until(other, task)  # who wants all tasks waits for nobody
            await until(lambda: postgres.refused > 0)
        await snapshots.apply([task.progress(1), task.succeeded()])
        kinds = [change["kind"] for change in await changes_until(watcher, task)]
        assert kinds[0] == "started"
        assert kinds[-1] == "succeeded"


async def test_output_of_tasks_is_no_change_of_them(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    async with watcher_of(edge) as watcher:
        await listen(watcher)
        await snapshots.apply([task.queued(), task.started(), task.log("line"), task.succeeded()])
        assert [change["kind"] for change in await changes_until(watcher, task)] == ["queued", "started", "succeeded"]


async def test_filters_are_forgotten_with_their_listeners(edge: Edge) -> None:
    async with watcher_of(edge) as watcher:
        await listen(watcher)
        async with watcher_of(edge) as other:
            await listen(other, type="t")
            [feed] = edge._feeds._feeds.values()
            assert feed.sieve is not None
        await until(lambda: feed.sieve is None)
        assert list(feed.watchers) == [None]


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
