"""Keys of tenants on the real edge: what they open, and that a revoked one closes what it opened."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from redis.asyncio import Redis

from milepost.domain.grant import Grant
from milepost.errors import Unavailable
from milepost.live import Snapshots, Tickets
from milepost.runtime.keys import KeyRow, new_secret
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost.store.connection import Pool
from milepost.store.keys import Keys, NewKey
from milepost_notifier.edge import Edge
from milepost_schemas.frames import CloseCode
from tests.integration.notifier.acting import KEY, Living, Postgres, Watcher, line_to
from tests.integration.notifier.conftest import edge_of
from tests.integration.notifier.reading import http_of


class SomeKeys(Keys):
    """The store of keys, which can be told to answer nobody, as it says it when the server is gone."""

    away = False

    async def find_keys(self, digests: Sequence[bytes]) -> list[KeyRow | None]:
        if self.away:
            raise Unavailable("Postgres is away.")
        return await super().find_keys(digests)

    async def made(self, tenant: str, *scopes: str, expires_in: float | None = None) -> tuple[str, UUID]:
        """Store a key; return it and its id."""
        secret, id_ = new_secret(), uuids.uuid7()
        wanted = list(scopes or ("read",))
        new = NewKey(id_, tenant, secret.digest, secret.prefix, "of a test", wanted, expires_in=expires_in)
        assert await self.create_key(new) is not None
        return secret.key, id_


@pytest.fixture
def keys(pool: Pool) -> SomeKeys:
    return SomeKeys(pool)


@pytest.fixture
async def edge(settings: Settings, redis: Redis, postgres: Postgres, keys: SomeKeys) -> AsyncIterator[Edge]:
    async with edge_of(settings, redis, postgres, keys=keys) as edge:
        yield edge


@asynccontextmanager
async def holder_of(edge: Edge, token: str) -> AsyncIterator[Watcher]:
    async with line_to(edge) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": token})
        yield watcher


async def test_a_key_opens_its_tenants_tasks_and_no_others(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, keys: SomeKeys
) -> None:
    mine, theirs = Living(postgres, "acme"), Living(postgres)
    await snapshots.apply([mine.queued(), theirs.queued()])
    key, _ = await keys.made("acme")
    async with holder_of(edge, key) as watcher:
        assert "expires" not in await watcher.next()
        await watcher.sub(mine.id, 1)
        assert (await watcher.until(lambda frame: frame.get("id") == 1))["t"] == "snap"
        await watcher.sub(theirs.id, 2)
        assert (await watcher.until(lambda frame: frame.get("id") == 2))["code"] == "not_found"


async def test_a_key_without_the_scope_read_watches_nothing(edge: Edge, keys: SomeKeys) -> None:
    key, _ = await keys.made("acme", "submit", "operate", "admin")
    async with holder_of(edge, key) as watcher:
        assert (await watcher.closed())[0] == CloseCode.FORBIDDEN.code


async def test_what_is_no_key_is_a_bad_token(edge: Edge) -> None:
    for guess in (new_secret().key, "mp_x"):
        async with holder_of(edge, guess) as watcher:
            assert await watcher.closed() == (CloseCode.BAD_TOKEN.code, "bad token")


async def test_a_key_that_expires_says_when(edge: Edge, keys: SomeKeys) -> None:
    key, _ = await keys.made("acme", expires_in=100)
    async with holder_of(edge, key) as watcher:
        assert 90 < (await watcher.next())["expires"] <= 100


async def test_a_stream_is_closed_when_its_key_is_revoked(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, keys: SomeKeys
) -> None:
    task = Living(postgres, "acme")
    await snapshots.apply([task.queued()])
    (key, id_), (other, _) = await keys.made("acme"), await keys.made("acme")
    async with holder_of(edge, key) as watcher, holder_of(edge, other) as stays:
        for each in (watcher, stays):
            await each.sub(task.id)
            await each.until(lambda frame: frame["t"] == "snap")
        await keys.revoke_key(id_, None)
        assert await watcher.closed() == (CloseCode.BAD_TOKEN.code, "bad token: this key was revoked")
        await snapshots.apply([task.started()])
        await stays.at(task.at)
    async with holder_of(edge, key) as again:
        code, reason = await again.closed()
        assert (code, "This key was revoked" in reason) == (CloseCode.BAD_TOKEN.code, True)


async def test_what_was_opened_with_a_token_of_a_revoked_key_is_closed_too(
    edge: Edge, settings: Settings, redis: Redis, postgres: Postgres, keys: SomeKeys
) -> None:
    task = Living(postgres, "acme")
    _, id_ = await keys.made("acme")
    tokens = Tokens.of(settings)
    token, _ = tokens.sign("acme", Grant(task=task.id), 900, key=id_)
    tickets = [await Tickets(redis, tokens).issue("acme", Grant(), 900, id_) for _ in range(2)]
    opened = f"ws://127.0.0.1:{edge.port}/v1/stream?ticket={tickets[0][0]}"
    async with holder_of(edge, token) as watcher, line_to(edge, uri=opened) as line:
        for each in (watcher, Watcher(line)):
            assert (await each.next())["t"] == "welcome"
        await keys.revoke_key(id_, None)
        for each in (watcher, Watcher(line)):
            assert await each.closed() == (
                CloseCode.TOKEN_EXPIRED.code,
                "token expired: the key it was made with was revoked",
            )
    async with holder_of(edge, token) as again:
        assert (await again.closed())[0] == CloseCode.TOKEN_EXPIRED.code
    assert await edge.holder_of(tickets[1][0]) is None


async def test_a_key_that_nobody_can_check_is_asked_to_come_back(edge: Edge, keys: SomeKeys) -> None:
    (known, _), (new, _) = await keys.made("acme"), await keys.made("acme")
    async with holder_of(edge, known) as watcher:
        assert (await watcher.next())["t"] == "welcome"
    keys.away = True
    for token in (known, KEY):
        async with holder_of(edge, token) as watcher:
            assert (await watcher.next())["t"] == "welcome"
    async with holder_of(edge, new) as watcher:
        assert (await watcher.closed())[0] == CloseCode.UNAVAILABLE.code
    keys.away = False
    async with holder_of(edge, new) as watcher:
        assert (await watcher.next())["t"] == "welcome"


async def test_another_key_may_be_shown_on_an_open_stream(edge: Edge, keys: SomeKeys) -> None:
    (first, id_), (second, _), (theirs, _) = [await keys.made(tenant) for tenant in ("acme", "acme", "other")]
    async with holder_of(edge, first) as watcher:
        await watcher.next()
        await watcher.send({"t": "hello", "token": second})
        assert (await watcher.next())["t"] == "welcome"
        await keys.revoke_key(id_, None)
        await watcher.send({"t": "ping"})
        assert (await watcher.next())["t"] == "pong"
        await watcher.send({"t": "hello", "token": theirs})
        assert (await watcher.closed())[0] == CloseCode.FORBIDDEN.code


async def test_server_sent_events_know_keys_too(
    settings: Settings, redis: Redis, postgres: Postgres, snapshots: Snapshots, keys: SomeKeys
) -> None:
    task = Living(postgres, "acme")
    await snapshots.apply([task.queued()])
    (key, id_), (new, _), (blind, _) = (
        await keys.made("acme"),
        await keys.made("acme"),
        await keys.made("acme", "submit"),
    )
    path = f"/v1/tasks/{task.id}/events"
    async with http_of(settings, redis, postgres, keys=keys) as http:
        assert await http.status(path, Authorization=f"Bearer {blind}") == 403
        assert await http.status(path, Authorization=f"Bearer {new_secret().key}") == 401
        async with http.get(path, Authorization=f"Bearer {key}") as reader:
            await reader.until(lambda event: event.kind == "snap")
            await keys.revoke_key(id_, None)
            last = await reader.until(lambda event: event.kind == "close")
            assert last.frame == {
                "t": "close",
                "code": CloseCode.BAD_TOKEN.code,
                "reason": "bad token: this key was revoked",
            }
        assert await http.status(path, Authorization=f"Bearer {key}") == 401
        keys.away = True
        assert await http.status(path, Authorization=f"Bearer {new}") == 503
        keys.away = False
