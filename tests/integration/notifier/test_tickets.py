"""Tickets on the real edge: they let in once, and cover what they say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from milepost.domain.grant import EVERYTHING, Grant
from milepost.live import Snapshots, Tickets
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost_notifier.edge import Edge
from milepost_schemas.frames import CloseCode
from tests.integration.notifier.acting import KEY, TENANT, Living, Postgres, Server, Watcher, line_to
from tests.integration.notifier.conftest import edge_of
from tests.integration.notifier.reading import http_of
from tests.integration.notifier.test_connections import _status as status
from tests.integration.notifier.test_tokens import Kin


@pytest.fixture
def tickets(settings: Settings, redis: Redis) -> Tickets:
    return Tickets(redis, Tokens.of(settings))


async def ticket_for(tickets: Tickets, grant: Grant = EVERYTHING, ttl: int = 900) -> str:
    return (await tickets.issue(TENANT, grant, ttl))[0]


@asynccontextmanager
async def holder_of(edge: Edge, ticket: str) -> AsyncIterator[Watcher]:
    async with line_to(edge, uri=f"ws://127.0.0.1:{edge.port}/v1/stream?ticket={ticket}") as line:
        yield Watcher(line)


async def test_a_ticket_makes_hello_unnecessary(edge: Edge, snapshots: Snapshots, tickets: Tickets) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with holder_of(edge, await ticket_for(tickets)) as watcher:
        welcome = await watcher.next()
        assert welcome["t"] == "welcome"
        assert 890 < welcome["expires"] <= 900
        await watcher.sub(task.id)
        assert (await watcher.next())["t"] == "snap"


async def test_a_ticket_is_good_for_one_client(edge: Edge, tickets: Tickets) -> None:
    ticket = await ticket_for(tickets)
    async with holder_of(edge, ticket) as watcher:
        assert (await watcher.next())["t"] == "welcome"
        assert await status(edge, f"/v1/stream?ticket={ticket}") == 401


async def test_of_many_who_come_with_one_ticket_one_gets_in(edge: Edge, tickets: Tickets) -> None:
    ticket = await ticket_for(tickets)

    async def enter() -> int:
        try:
            async with holder_of(edge, ticket) as watcher:
                assert (await watcher.next())["t"] == "welcome"
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    assert sorted(await asyncio.gather(*(enter() for _ in range(8)))) == [101, *[401] * 7]


async def test_a_ticket_whose_time_is_over_lets_nobody_in(edge: Edge, tickets: Tickets, redis: Redis) -> None:
    ticket = await ticket_for(tickets)
    [name] = [name async for name in redis.scan_iter("mp:ticket:*")]
    assert await redis.pexpire(name, 1)
    while await redis.exists(name):
        await asyncio.sleep(0.005)
    assert await status(edge, f"/v1/stream?ticket={ticket}") == 401


async def test_a_ticket_covers_what_it_says_until_it_runs_out(
    edge: Edge, snapshots: Snapshots, postgres: Postgres, tickets: Tickets
) -> None:
    mine, other = Kin(postgres), Kin(postgres)
    await snapshots.apply([mine.queued(), other.queued()])
    async with holder_of(edge, await ticket_for(tickets, Grant(task=mine.id), ttl=2)) as watcher:
        await watcher.sub(mine.id, 1)
        await watcher.sub(other.id, 2)
        # It is as good as over, so it may be told to renew at any moment.
        frames = [await watcher.until(lambda frame: frame["t"] != "refresh") for _ in range(3)]
        assert sorted(frame.get("code", frame["t"]) for frame in frames) == ["forbidden", "snap", "welcome"]
        assert (await watcher.closed())[0] == CloseCode.TOKEN_EXPIRED.code


async def test_hello_renews_what_a_ticket_opened(edge: Edge, tickets: Tickets) -> None:
    async with holder_of(edge, await ticket_for(tickets, ttl=20)) as watcher:
        assert (await watcher.next())["expires"] <= 20
        await watcher.send({"t": "hello", "token": KEY})
        frame = await watcher.until(lambda frame: frame["t"] == "welcome")
        assert "expires" not in frame


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("token=KEY", 400),
        ("access_token=TOKEN", 400),
        ("ticket=KEY", 401),
        ("ticket=TOKEN", 400),
        ("ticket=", 400),
        ("Ticket=TICKET", 400),
        ("ticket=TICKET%00", 400),
        ("ticket=TICKET&token=KEY", 400),
        ("token=KEY&ticket=TICKET", 400),
        ("ticket=TICKET&ticket=TICKET", 400),
        ("ticket=../TICKET", 400),
    ],
)
async def test_anything_else_in_the_url_is_refused(
    edge: Edge, tickets: Tickets, settings: Settings, query: str, code: int
) -> None:
    ticket = await ticket_for(tickets)
    token, _ = Tokens.of(settings).sign(TENANT, Grant(feed=True), 60)
    for word, value in (("TICKET", ticket), ("KEY", KEY), ("TOKEN", token)):
        query = query.replace(word, value)
    assert await status(edge, f"/v1/stream?{query}") == code
    assert await tickets.redeem(ticket) is not None, "who is refused for another reason keeps the ticket"


async def test_pages_of_other_origins_do_not_use_up_a_ticket(edge: Edge, tickets: Tickets) -> None:
    ticket = await ticket_for(tickets)
    assert await status(edge, f"/v1/stream?ticket={ticket}", origin=Origin("https://evil.example")) == 403
    assert await status(edge, f"/v1/stream?ticket={ticket}", subprotocols=None) == 400
    async with holder_of(edge, ticket) as watcher:
        assert (await watcher.next())["t"] == "welcome"


async def test_without_redis_a_ticket_has_to_wait(
    settings: Settings, redis: Redis, postgres: Postgres, redis_server: Server, tickets: Tickets
) -> None:
    ticket = await ticket_for(tickets)
    async with edge_of(settings, redis, postgres) as edge, http_of(settings, redis, postgres) as http:
        redis_server.stop()
        try:
            assert await status(edge, f"/v1/stream?ticket={ticket}") == 503
            assert await http.status(f"/v1/tasks/{Living().id}/events?ticket={ticket}") == 503
        finally:
            redis_server.start()


async def test_a_ticket_opens_events_over_http_once(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres, tickets: Tickets
) -> None:
    mine, other = Kin(postgres), Kin(postgres)
    await snapshots.apply([mine.queued(), other.queued()])
    async with http_of(settings, redis, postgres) as http:
        path = f"/v1/tasks/{mine.id}/events?ticket="
        ticket = await ticket_for(tickets, Grant(task=mine.id))
        assert await http.status(path + ticket, Authorization=f"Bearer {KEY}") == 400
        async with http.session.get(path + ticket) as response:
            assert response.status == 200
            assert await http.status(path + ticket) == 401
        ticket = await ticket_for(tickets, Grant(task=mine.id))
        assert await http.status(f"/v1/tasks/{other.id}/events?ticket={ticket}") == 403
        assert await http.status(path + "x") == 401
        assert await http.status(path) == 401
