"""Trees over a real WebSocket, Redis and Postgres."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from milepost.live import Snapshots, View
from milepost.live.snapshots import Wanted
from milepost.runtime.settings import Settings
from milepost_notifier.edge import Edge
from milepost_notifier.limits import Limits
from tests.integration.notifier.acting import TENANT, Living, Postgres, Watcher, watcher_of
from tests.integration.notifier.conftest import edge_of
from tests.unit.notifier.making import TreeClient


class TreeWatcher(Watcher):
    """Folds a tree; its subscription has number 1."""

    tree: TreeClient

    async def watch(self, root: Living, **more: Any) -> None:
        """Subscribe."""
        self.tree = TreeClient(root.id)
        await self.sub(root.id, **more)

    def fold(self, frame: dict[str, Any]) -> None:
        """Take a frame into the fold."""
        self.tree.take(frame)

    async def told(self, *tasks: Living) -> None:
        """Return when every task is as it is."""
        while any(self.tree.tasks.get(str(task.id)) != task.task for task in tasks):
            await self.next()


@asynccontextmanager
async def watching(edge: Edge) -> AsyncIterator[TreeWatcher]:
    async with watcher_of(edge) as plain:
        yield TreeWatcher(plain.line)


def child_of(parent: Living, postgres: Postgres | None = None, **more: Any) -> Living:
    return Living(postgres, parent.tenant, parent_id=str(parent.id), root_id=parent.task["root_id"], **more)


async def test_descendants_that_are_there_and_those_to_come_are_told(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    root = Living(postgres)
    before = child_of(root, postgres)
    below = child_of(before, postgres)
    await snapshots.apply([root.queued(), before.queued(), below.queued(), root.started(), below.started()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root, before, below)
        assert [frame["task"]["id"] for frame in watcher.frames] == [str(task.id) for task in (root, before, below)]
        new = child_of(root, postgres)
        await snapshots.apply([new.queued()])
        first = await watcher.next()
        assert (first["task"], first["prev"], first["data"]) == (str(new.id), None, new.task)
        newer = child_of(new, postgres)
        await snapshots.apply([new.started(), newer.queued(), newer.started(), newer.progress(3)])
        await watcher.told(new, newer)
        await snapshots.apply([newer.succeeded(), new.succeeded(), before.progress(1), root.succeeded()])
        await watcher.end()
        assert watcher.tree.tasks[str(newer.id)] == newer.task
        assert watcher.tree.root.task == root.task
    assert not edge.watching


async def test_children_of_many_tasks_are_asked_for_in_few_statements(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    tasks = [Living() for _ in range(300)]
    await snapshots.apply([event for task in tasks for event in (task.queued(), task.started())])
    async with watcher_of(edge) as watcher:
        for number, task in enumerate(tasks):
            await watcher.sub(task.id, number)
        for _ in tasks:
            assert (await watcher.next())["t"] == "snap"
        await until_asked(postgres)
    assert postgres.asked == 0
    assert postgres.asked_for_children <= 100


async def until_asked(postgres: Postgres) -> None:
    async with asyncio.timeout(20):
        while not (postgres.asked_for_children or postgres.refused):
            await asyncio.sleep(0.005)


async def test_a_task_joins_at_once_while_postgres_is_away_and_the_audit_adds_its_children(
    edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    root = Living(postgres)
    child = child_of(root, postgres)
    below = child_of(child, postgres)
    await snapshots.apply([root.queued(), child.queued(), below.queued()])
    async with watching(edge) as watcher:
        with postgres.away():
            await watcher.watch(root)
            assert (await watcher.next())["task"] == root.task
            await until_asked(postgres)
        await edge.audit()
        await watcher.told(child, below)


async def test_a_flush_in_between_takes_no_member_away(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, redis: Redis
) -> None:
    root = Living(postgres)
    child = child_of(root, postgres)
    await snapshots.apply([root.queued(), root.started(), child.queued(), child.started()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root, child)
        await redis.flushall()
        new = child_of(root, postgres)
        unheard = child_of(child, postgres)  # its event is lost
        await snapshots.apply([child.progress(4), new.queued()])
        child.succeeded()  # this one too
        await edge.audit()
        await watcher.told(new, unheard, child)
        await snapshots.apply([root.succeeded()])
        await watcher.end()


async def test_a_member_that_is_retried_goes_on(edge: Edge, snapshots: Snapshots, postgres: Postgres) -> None:
    root = Living(postgres)
    child = child_of(root, postgres)
    await snapshots.apply([root.queued(), child.queued()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root, child)
        await snapshots.apply([child.started(), child.succeeded()])
        await watcher.told(child)
        await snapshots.apply([child.retried()])
        again = await watcher.next()
        assert (again["t"], again["kind"], again["prev"]) == ("ev", "queued", [1, 1])
        await snapshots.apply([child.started(), child.progress(8)])
        await watcher.told(child)


class Held:
    """What is read from Redis is answered only when told: it may be old by then."""

    def __init__(self, edge: Edge) -> None:
        self._snapshots = edge.snapshots
        self._read = edge.snapshots.read_many
        self._go = asyncio.Event()
        self.read = asyncio.Event()
        """Something was read, and waits."""

    async def __call__(self, wanted: Sequence[Wanted]) -> list[View | None]:
        """Read, and wait."""
        views = await self._read(wanted)
        self.read.set()
        await self._go.wait()
        return views

    def __enter__(self) -> Self:
        self._snapshots.read_many = self  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self._snapshots.read_many = self._read  # type: ignore[method-assign]
        self._go.set()


async def test_a_member_that_is_retried_while_it_is_looked_up_is_told_at_once(edge: Edge, snapshots: Snapshots) -> None:
    root = Living()
    child = child_of(root)  # not in Postgres: only what is announced leads to it
    await snapshots.apply([root.queued(), root.started()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root)
        with Held(edge) as held:
            await snapshots.apply([child.queued(), child.started(), child.succeeded()])
            async with asyncio.timeout(20):
                await held.read.wait()
            await snapshots.apply([child.retried(), root.progress(1)])
            await watcher.told(root)  # so the retry was heard as well
        await watcher.told(child)
        await snapshots.apply([child.started(), child.progress(2)])
        await watcher.told(child)


async def test_more_members_than_are_told_of_are_said_to_be_there(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    root = Living(postgres)
    over = [child_of(root, postgres) for _ in range(3)]
    still = child_of(root, postgres)
    for task in over:
        task.started()
        task.succeeded()
    await snapshots.apply([root.queued(), still.queued()])
    async with edge_of(settings, redis, postgres, limits=Limits(members=2)) as edge, watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.until(lambda frame: frame["t"] == "err")
        await watcher.told(root, still)
        while len(watcher.tree.members) < 3:
            await watcher.next()
        assert watcher.tree.errors == ["too_many_children"]
        assert len(watcher.tree.members) == 3


async def test_who_comes_back_gets_the_members_anew(edge: Edge, snapshots: Snapshots, postgres: Postgres) -> None:
    root = Living(postgres)
    child = child_of(root, postgres)
    await snapshots.apply([root.queued(), root.started(), child.queued(), child.started(), child.progress(1)])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root, child)
    await snapshots.apply([child.progress(2), child.succeeded()])
    async with watching(edge) as watcher:
        await watcher.watch(root, since=list(root.at))
        await watcher.until(lambda frame: frame["t"] == "snap")
        assert watcher.tree.tasks[str(child.id)] == child.task


@pytest.mark.parametrize("parent", ["feed", "no id", 7, "x" * 36])
async def test_a_parent_that_is_no_id_is_told_nowhere(snapshots: Snapshots, redis: Redis, parent: Any) -> None:
    async with redis.pubsub() as listener:
        await listener.psubscribe("mp:*")
        await listener.parse_response()
        task = Living(parent_id=parent)
        await snapshots.apply([task.queued()])
        _, _, channel, _ = await listener.parse_response()
        assert channel.decode() == f"mp:{TENANT}:{task.id}"
        await redis.publish("mp:last", "")
        assert (await listener.parse_response())[2] == b"mp:last"


async def test_nothing_of_another_tenant_is_told(edge: Edge, snapshots: Snapshots, postgres: Postgres) -> None:
    root = Living(postgres)
    foreign = Living(postgres, "other", parent_id=str(root.id), root_id=str(root.id))
    mine = child_of(root, postgres)
    await snapshots.apply([root.queued(), foreign.queued(), mine.queued()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root, mine)
        later = Living(postgres, "other", UUID(str(uuid7())), parent_id=str(root.id), root_id=str(root.id))
        last = child_of(root, postgres)
        await snapshots.apply([later.queued(), last.queued()])
        await watcher.told(last)
        assert set(watcher.tree.members) == {str(task.id) for task in (root, mine, last)}


async def test_a_child_whose_start_overtook_its_first_event_is_told_at_once(edge: Edge, snapshots: Snapshots) -> None:
    root = Living()
    await snapshots.apply([root.queued(), root.started()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root)
        late = child_of(root)  # not in Postgres: only what is announced leads to it
        queued, started, progress = late.queued(), late.started(), late.progress(3)
        await snapshots.apply([started, progress])
        await snapshots.apply([queued, queued])
        await watcher.told(late)
        await snapshots.apply([late.succeeded()])
        await watcher.told(late)
        assert [frame["prev"] for frame in watcher.frames if frame.get("task") == str(late.id)][:1] == [None]


async def test_children_of_a_member_that_is_over_are_told(edge: Edge, snapshots: Snapshots, postgres: Postgres) -> None:
    root = Living(postgres)
    child = child_of(root, postgres)
    await snapshots.apply([root.queued(), child.queued(), child.started()])
    async with watching(edge) as watcher:
        await watcher.watch(root)
        await watcher.told(root, child)
        quick = child_of(child, postgres)
        await snapshots.apply([child.succeeded(), quick.queued()])
        await watcher.told(child, quick)
        later = child_of(child, postgres)
        await snapshots.apply([later.queued()])
        await edge.audit()
        await watcher.told(later)
