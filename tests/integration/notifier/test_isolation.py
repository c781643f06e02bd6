"""Nothing crosses a tenant on the stream: every frame a client may send, with what belongs to another."""

from typing import Any

import pytest
from redis.asyncio import Redis

from milepost.domain.grant import Grant
from milepost.live import Snapshots
from milepost.live.snapshots import key_of
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost_notifier.edge import Edge
from milepost_schemas.frames import CLIENT_FRAME, CloseCode
from tests.integration.notifier.acting import Living, Postgres, Watcher, line_to
from tests.integration.notifier.reading import http_of

VICTIM, INTRUDER = "victim", "intruder"
MARK = "belongs-to-the-victim"
TRIED = {"hello", "sub", "unsub", "ping", "pong"}


def test_every_frame_of_a_client_is_tried() -> None:
    mapping: dict[str, Any] = CLIENT_FRAME.json_schema()["discriminator"]["mapping"]
    assert set(mapping) == TRIED


async def _answer(watcher: Watcher, number: int) -> str:
    """Return the kind of the first frame about a subscription."""
    return str((await watcher.until(lambda frame: frame.get("id") == number))["t"])


@pytest.fixture
def family(postgres: Postgres) -> tuple[Living, Living]:
    """A task of the victim and its child."""
    root = Living(postgres, VICTIM, labels={"whose": MARK})
    child = Living(postgres, VICTIM, labels={"whose": MARK})
    child.task |= {"parent_id": str(root.id), "root_id": str(root.id)}
    child._store()
    return root, child


@pytest.mark.parametrize("known_to", ["redis", "postgres"])
async def test_no_subscription_shows_anything_of_another_tenant(
    edge: Edge,
    settings: Settings,
    snapshots: Snapshots,
    family: tuple[Living, Living],
    known_to: str,
) -> None:
    root, child = family
    if known_to == "redis":
        await snapshots.apply([root.queued(), child.queued()])
    tokens = Tokens.of(settings)
    grants = [Grant(task=root.id), Grant(label=("whose", MARK)), Grant(feed=True)]
    for token in (tokens.sign(INTRUDER, grant, 900)[0] for grant in grants):
        async with line_to(edge) as line:
            watcher = Watcher(line)
            await watcher.send({"t": "hello", "token": token})
            await watcher.next()
            asked: list[dict[str, Any]] = []
            for task in (root, child):
                asked += [{"task": str(task.id), **more} for more in ({}, {"from": [0, 0]}, {"tree": False, "tail": 9})]
            filters = [{}, {"parent": str(root.id)}, {"root": str(root.id)}, {"labels": {"whose": MARK}}]
            asked += [{"feed": "tasks", "filter": only} for only in filters]
            for number, what in enumerate(asked):
                await watcher.send({"t": "sub", "id": number, **what})
                assert await _answer(watcher, number) in {"err", "live"}
            await snapshots.apply([root.started(), child.started(), root.progress(1), child.progress(2)])
            await watcher.send({"t": "unsub", "id": 1})
            await watcher.send({"t": "ping"})
            await watcher.until(lambda frame: frame["t"] == "pong")
        said = repr(watcher.frames)
        assert MARK not in said
        assert str(root.id) not in said
        assert str(child.id) not in said
    async with line_to(edge) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": tokens.sign(VICTIM, Grant(task=root.id), 900)[0]})
        await watcher.sub(root.id)
        await watcher.until(lambda frame: MARK in repr(frame))


async def test_no_stream_over_http_shows_anything_of_another_tenant(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres, family: tuple[Living, Living]
) -> None:
    root, _ = family
    await snapshots.apply([root.queued()])
    grants = [Grant(task=root.id), Grant(label=("whose", MARK))]
    async with http_of(settings, redis, postgres) as http:
        for grant in grants:
            token, _ = Tokens.of(settings).sign(INTRUDER, grant, 900)
            path = f"/v1/tasks/{root.id}/events"
            async with http.session.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                assert response.status in {403, 404}
                body = await response.text()
            assert MARK not in body


async def test_an_open_stream_cannot_change_its_tenant(edge: Edge, settings: Settings) -> None:
    tokens = Tokens.of(settings)
    async with line_to(edge) as line:
        watcher = Watcher(line)
        for tenant in (INTRUDER, VICTIM):
            await watcher.send({"t": "hello", "token": tokens.sign(tenant, Grant(feed=True), 900)[0]})
        assert (await watcher.closed())[0] == CloseCode.FORBIDDEN.code


async def test_the_same_id_under_another_tenant_is_another_task(
    settings: Settings, edge: Edge, snapshots: Snapshots, postgres: Postgres
) -> None:
    theirs = Living(postgres, VICTIM, labels={"whose": MARK})
    await snapshots.apply([theirs.queued()])
    assert key_of(VICTIM, theirs.id) != key_of(INTRUDER, theirs.id)
    token, _ = Tokens.of(settings).sign(INTRUDER, Grant(task=theirs.id), 900)
    async with line_to(edge) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": token})
        await watcher.sub(theirs.id)
        assert (await watcher.until(lambda frame: frame.get("id") == 1))["code"] == "not_found"
