"""Watch tokens on the real edge: what they open, and what they do not."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from milepost.domain.grant import Grant
from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost_notifier.edge import Edge
from milepost_schemas.frames import CloseCode
from tests.integration.notifier.acting import KEY, TENANT, Living, Postgres, Watcher, line_to
from tests.integration.notifier.conftest import edge_of
from tests.integration.notifier.reading import http_of
from tests.integration.notifier.test_trees import TreeWatcher
from tests.unit.notifier.making import TreeClient


@asynccontextmanager
async def holder_of(edge: Edge, token: str) -> AsyncIterator[Watcher]:
    async with line_to(edge) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": token})
        yield watcher


@pytest.fixture
def tokens(settings: Settings) -> Tokens:
    return Tokens.of(settings)


def token_for(tokens: Tokens, grant: Grant, tenant: str = TENANT, ttl: int = 900) -> str:
    return tokens.sign(tenant, grant, ttl)[0]


class Kin(Living):
    """A task with ancestors and labels."""

    def __init__(self, postgres: Postgres, parent: "Kin | None" = None, tenant: str = TENANT, **labels: str) -> None:
        super().__init__(postgres, tenant)
        if parent is not None:
            self.task |= {"parent_id": str(parent.id), "root_id": parent.task["root_id"]}
        self.task["labels"] = labels
        self._store()


async def _code(watcher: Watcher, task: UUID) -> str:
    """Subscribe, and return `snap` or the code of the err that came instead."""
    number = len(watcher.frames)
    await watcher.sub(task, number)
    frame = await watcher.until(lambda frame: frame.get("id") == number)
    return str(frame.get("code", frame["t"]))


@pytest.mark.parametrize("known_to", ["redis", "postgres"])
async def test_a_task_token_opens_its_task_and_what_is_below_it_and_no_other(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens, known_to: str
) -> None:
    root = Kin(postgres)
    mine = Kin(postgres, parent=root)
    child = Kin(postgres, parent=mine)
    below = Kin(postgres, parent=child)
    sister = Kin(postgres, parent=root)
    niece = Kin(postgres, parent=sister)
    stranger = Kin(postgres)
    everybody = (root, mine, child, below, sister, niece, stranger)
    if known_to == "redis":
        await snapshots.apply([task.queued() for task in everybody])
    async with holder_of(edge, token_for(tokens, Grant(task=mine.id))) as watcher:
        welcome = await watcher.next()
        assert 890 < welcome["expires"] <= 900
        codes = [await _code(watcher, task.id) for task in everybody]
    assert codes == ["forbidden", "snap", "snap", "snap", "forbidden", "forbidden", "forbidden"]


async def test_a_task_that_is_not_there_is_as_forbidden_as_one_that_is(edge: Edge, tokens: Tokens) -> None:
    async with holder_of(edge, token_for(tokens, Grant(task=UUID(str(uuid7()))))) as watcher:
        assert await _code(watcher, UUID(str(uuid7()))) == "forbidden"


@pytest.mark.parametrize("known_to", ["redis", "postgres"])
async def test_a_label_token_opens_tasks_that_have_the_label(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens, known_to: str
) -> None:
    mine = Kin(postgres, customer="42", other="x")
    others = [Kin(postgres), Kin(postgres, customer="421"), Kin(postgres, other="42"), Kin(postgres, parent=mine)]
    if known_to == "redis":
        await snapshots.apply([task.queued() for task in (mine, *others)])
    async with holder_of(edge, token_for(tokens, Grant(label=("customer", "42")))) as watcher:
        assert await _code(watcher, mine.id) == "snap"
        assert {await _code(watcher, task.id) for task in others} == {"forbidden"}


async def test_another_tenant_s_token_shows_nothing_of_ours(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    task = Kin(postgres, customer="42")
    await snapshots.apply([task.queued()])
    for grant in (Grant(task=task.id), Grant(label=("customer", "42"))):
        async with holder_of(edge, token_for(tokens, grant, tenant="other")) as watcher:
            assert await _code(watcher, task.id) in {"not_found", "forbidden"}


async def test_a_child_submitted_now_is_watched_with_its_parent_s_token(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    parent = Kin(postgres)
    child = Kin(postgres, parent=parent)
    async with holder_of(edge, token_for(tokens, Grant(task=parent.id))) as watcher:
        await watcher.next()
        await watcher.sub(child.id)
        await snapshots.apply([child.queued()])
        assert (await watcher.next())["t"] == "snap"


async def test_a_stranger_s_first_event_does_not_get_past_the_token(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    mine, stranger = Kin(postgres), Kin(postgres)
    async with holder_of(edge, token_for(tokens, Grant(task=mine.id))) as watcher:
        await watcher.next()
        await watcher.sub(stranger.id)
        await snapshots.apply([stranger.queued()])
        await snapshots.apply([stranger.started()])
        frame = await watcher.next()
        assert frame["code"] == "forbidden"


async def test_a_token_that_runs_out_is_renewed_on_the_open_line_or_closed(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    task = Kin(postgres)
    await snapshots.apply([task.queued()])
    async with holder_of(edge, token_for(tokens, Grant(task=task.id), ttl=30)) as watcher:
        await watcher.sub(task.id)
        refresh = await watcher.until(lambda frame: frame["t"] == "refresh")
        assert 0 < refresh["in"] <= 30
        await watcher.send({"t": "hello", "token": token_for(tokens, Grant(task=task.id), ttl=2)})
        welcome = await watcher.until(lambda frame: frame["t"] == "welcome" and frame["expires"] <= 2)
        assert welcome["session"] == watcher.frames[0]["session"]
        await snapshots.apply([task.started()])
        await watcher.at((1, 0))
        assert await watcher.closed() == (CloseCode.TOKEN_EXPIRED.code, CloseCode.TOKEN_EXPIRED.text)


async def test_hello_with_an_expired_token_asks_for_another(edge: Edge, tokens: Tokens) -> None:
    old, _ = tokens.sign(TENANT, Grant(feed=True), 60, now=time.time() - 61)
    async with holder_of(edge, old) as watcher:
        assert await watcher.closed() == (CloseCode.TOKEN_EXPIRED.code, CloseCode.TOKEN_EXPIRED.text)
        assert watcher.frames == []


async def test_hello_with_a_forged_or_huge_token_is_closed_for_good(edge: Edge) -> None:
    forged, _ = Tokens([b"x" * 32]).sign(TENANT, Grant(feed=True), 60)
    for token, code in ((forged, CloseCode.BAD_TOKEN), ("x" * 5000, CloseCode.PROTOCOL_VIOLATION)):
        async with holder_of(edge, token) as watcher:
            assert (await watcher.closed())[0] == code.code


async def test_an_edge_with_nothing_but_the_secret_takes_tokens(
    settings: Settings, redis: Redis, postgres: Postgres
) -> None:
    secret = "s" * 32
    keyless = settings.model_copy(update={"api_key": None})
    locked = Settings(_env_file=None, token_secret=secret, **keyless.model_dump(exclude={"token_secret"}))
    async with edge_of(locked, redis, postgres) as edge:
        async with holder_of(edge, token_for(Tokens([secret.encode()]), Grant(feed=True))) as watcher:
            assert (await watcher.next())["t"] == "welcome"
        async with holder_of(edge, KEY) as watcher:
            assert (await watcher.closed())[0] == CloseCode.BAD_TOKEN.code


async def test_a_wider_token_shows_the_members_of_a_tree_that_were_hidden(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    root = Kin(postgres, team="a")
    mine, hidden = Kin(postgres, parent=root, team="a"), Kin(postgres, parent=root)
    below = Kin(postgres, parent=hidden)
    await snapshots.apply([task.queued() for task in (root, mine, hidden, below)])
    async with line_to(edge) as line:
        watcher = TreeWatcher(line)
        watcher.tree = TreeClient(root.id)
        await watcher.send({"t": "hello", "token": token_for(tokens, Grant(label=("team", "a")))})
        assert (await watcher.next())["t"] == "welcome"
        await watcher.sub(root.id)
        seen = [(await watcher.next())["task"]["id"] for _ in range(2)]
        assert seen == [str(root.id), str(mine.id)]
        await snapshots.apply([hidden.started(), root.started()])
        assert (await watcher.next())["task"] == str(root.id)
        await watcher.send({"t": "hello", "token": token_for(tokens, Grant(task=root.id))})
        assert (await watcher.next())["t"] == "welcome"
        shown = [(await watcher.next())["task"] for _ in range(2)]
        assert shown == [hidden.task, below.task]
        await snapshots.apply([hidden.progress(3)])
        assert (await watcher.at(hidden.at))["task"] == str(hidden.id)


async def test_over_http_a_token_opens_what_it_covers_until_it_runs_out(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    mine, other = Kin(postgres), Kin(postgres)
    await snapshots.apply([mine.queued(), other.queued()])
    grant = Grant(task=mine.id)
    async with http_of(settings, redis, postgres) as http:
        header = {"Authorization": f"Bearer {token_for(tokens, grant)}"}
        assert await http.status(f"/v1/tasks/{other.id}/events", **header) == 403
        expired, _ = tokens.sign(TENANT, grant, 60, now=time.time() - 61)
        assert await http.status(f"/v1/tasks/{mine.id}/events", Authorization=f"Bearer {expired}") == 401
        soon = f"Bearer {token_for(tokens, grant, ttl=3)}"
        async with http.get(f"/v1/tasks/{mine.id}/events", Authorization=soon) as reader:
            *kinds, last = await reader.rest()
            assert (sorted(kinds), last) == (["refresh", "snap"], "close")
            assert reader.events[-1].frame["code"] == CloseCode.TOKEN_EXPIRED.code


async def test_whoever_only_postgres_can_judge_holds_up_no_others(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tokens: Tokens
) -> None:
    root = Kin(postgres)
    mine = Kin(postgres, parent=root)
    below = Kin(postgres, parent=Kin(postgres, parent=mine))
    await snapshots.apply([mine.queued(), below.queued()])
    async with holder_of(edge, token_for(tokens, Grant(task=mine.id))) as watcher:
        assert (await watcher.next())["t"] == "welcome"
        with postgres.away():
            await watcher.sub(below.id, 1, tree=False)
            await watcher.sub(mine.id, 2, tree=False)
            first = await watcher.next()
            assert (first["t"], first["id"]) == ("snap", 2)
        assert (await watcher.next())["task"] == below.task
