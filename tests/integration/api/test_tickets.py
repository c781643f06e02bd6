"""Tickets: how they are given, and to whom."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from milepost.domain.grant import EVERYTHING, Grant
from milepost.live import Tickets, connect
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from tests.integration.api.serving import NOBODY, Api, published, served

TASK = "01890000-0000-7000-8000-000000000001"
TICKET = published("ticket")


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    client = connect(settings)
    yield client
    await client.aclose()


@pytest.fixture
def tickets(settings: Settings, redis: Redis) -> Tickets:
    return Tickets(redis, Tokens.of(settings))


@pytest.mark.parametrize(
    ("asked", "grant"),
    [
        ({"task": TASK}, Grant(task=UUID(TASK))),
        ({"label": {"name": "customer", "value": "42"}}, Grant(label=("customer", "42"))),
        ({"feed": "tasks"}, Grant(feed=True)),
        ({}, EVERYTHING),
        (None, EVERYTHING),
    ],
)
async def test_a_ticket_covers_what_was_asked_for_and_only_once(
    api: Api, tickets: Tickets, asked: dict[str, Any] | None, grant: Grant
) -> None:
    answer = await api.post("/v1/tickets", **({} if asked is None else {"json": asked}))
    assert answer.status == 201
    TICKET.validate(answer.json)
    assert 25 < datetime.fromisoformat(answer.json["expires_at"]).timestamp() - time.time() <= 30
    verified = await tickets.redeem(answer.json["ticket"])
    assert verified is not None
    assert (verified.tenant, verified.grant) == ("default", grant)
    assert 890 < verified.lasts <= 900
    assert await tickets.redeem(answer.json["ticket"]) is None


async def test_a_session_by_ticket_lasts_as_long_as_was_asked(api: Api, tickets: Tickets) -> None:
    ticket = (await api.post("/v1/tickets", json={"ttl": 3600})).json["ticket"]
    verified = await tickets.redeem(ticket)
    assert verified is not None
    assert verified.lasts > 3590


async def test_redis_forgets_a_ticket_after_half_a_minute_and_never_has_it_in_clear(api: Api, redis: Redis) -> None:
    ticket = (await api.post("/v1/tickets")).json["ticket"]
    names = [name async for name in redis.scan_iter("mp:ticket:*")]
    assert names
    for name in names:
        assert ticket.encode() not in name
        assert 0 < await redis.ttl(name) <= 30
        assert ticket.encode() not in (await redis.get(name) or b"")


async def test_who_writes_to_redis_cannot_make_a_ticket(api: Api, tickets: Tickets, redis: Redis) -> None:
    ticket = (await api.post("/v1/tickets")).json["ticket"]
    forged, _ = Tokens([b"x" * 32]).sign("default", EVERYTHING, 60, audience="milepost.ticket")
    for text in (forged, "{}", ""):
        names = [name async for name in redis.scan_iter("mp:ticket:*")]
        for name in names:
            await redis.set(name, text, ex=30)
        assert names
        assert await tickets.redeem(ticket) is None
        ticket = (await api.post("/v1/tickets")).json["ticket"]
    assert await tickets.redeem(ticket) is not None


async def test_a_watch_token_gets_a_ticket_for_the_same_and_no_longer(api: Api, tickets: Tickets) -> None:
    token = (await api.post("/v1/watch-tokens", json={"task": TASK, "ttl": 60})).json["token"]
    answer = await api.post("/v1/tickets", key=token)
    verified = await tickets.redeem(answer.json["ticket"])
    assert verified is not None
    assert verified.grant == Grant(task=UUID(TASK))
    assert 50 < verified.lasts <= 60


@pytest.mark.parametrize("asked", [{"task": TASK}, {"feed": "tasks"}, {"ttl": 3600}], ids=str)
async def test_a_watch_token_gets_no_ticket_for_anything_else(api: Api, asked: dict[str, Any]) -> None:
    token = (await api.post("/v1/watch-tokens", json={"task": TASK})).json["token"]
    answer = await api.post("/v1/tickets", key=token, json=asked)
    assert (answer.status, answer.kind) == (403, "forbidden")


@pytest.mark.parametrize(
    "asked",
    [[], {"task": TASK, "feed": "tasks"}, {"ttl": 0}, {"ttl": 3601}, {"tenant": "other"}, {"all": True}],
    ids=str,
)
async def test_anything_else_is_refused(api: Api, asked: Any) -> None:
    assert (await api.post("/v1/tickets", json=asked)).status == 422


async def test_without_redis_there_are_no_tickets_and_everything_else_goes_on(settings: Settings, api: Api) -> None:
    del api  # announced its types
    lonely = settings.model_copy(update={"redis_url": SecretStr(f"redis://{NOBODY}/0")})
    async with served(lonely) as running:
        answer = await running.post("/v1/tickets")
        assert (answer.status, answer.kind) == (503, "unavailable")
        assert answer.headers["Retry-After"]
        assert (await running.post("/v1/watch-tokens", json={"task": TASK})).status == 201
        assert (await running.submit()).status == 202
