"""What one client may do to the edge, and that it is closed for more."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from milepost.domain.grant import Grant
from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost_notifier.connections import Connection
from milepost_notifier.edge import Edge
from milepost_notifier.limits import Limits
from milepost_notifier.session import Session
from milepost_schemas.frames import CloseCode
from tests.integration.notifier.acting import KEY, Living, Postgres, Watcher, line_to, watcher_of
from tests.integration.notifier.conftest import edge_of
from tests.integration.notifier.reading import AUTHORIZED, http_of
from tests.integration.notifier.test_watching import until

OVER = CloseCode.OVER_LIMIT.code


@pytest.fixture
def tight(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"max_connections_per_address": 2, "trusted_proxies": ["127.0.0.1"], "max_connections_per_tenant": 3}
    )


def seen_as(address: str) -> dict[str, Any]:
    return {"additional_headers": {"X-Forwarded-For": address}}


async def refused(edge: Edge, **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error:
        async with line_to(edge, **options):
            pass
    response = error.value.response
    assert int(response.headers["Retry-After"]) > 0
    return response.status_code, response.body.decode()


async def test_an_address_has_so_many_connections(tight: Settings, redis: Redis, postgres: Postgres) -> None:
    one = seen_as("203.0.113.1")
    async with edge_of(tight, redis, postgres) as edge, watcher_of(edge, **one):
        async with watcher_of(edge, **one):
            status, text = await refused(edge, **one)
            assert (status, "MILEPOST_MAX_CONNECTIONS_PER_ADDRESS" in text) == (429, True)
            assert (await refused(edge, **seen_as("198.51.100.7, 203.0.113.1")))[0] == 429, "who lies is still there"
            async with line_to(edge, **seen_as("203.0.113.2")):
                pass
        await until(lambda: edge.clients == 1)
        async with watcher_of(edge, **one):
            pass


async def test_an_address_opens_connections_at_a_pace(
    tight: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    slow = tight.model_copy(update={"max_new_connections_per_second": 0.001})
    one = seen_as("203.0.113.1")
    task = Living()
    await snapshots.apply([task.queued()])
    async with http_of(slow, redis, postgres) as http:
        for _ in range(2):
            async with watcher_of(http.edge, **one):
                pass
            await until(lambda: http.edge.clients == 0)
        status, text = await refused(http.edge, **one)
        assert (status, "MILEPOST_MAX_NEW_CONNECTIONS_PER_SECOND" in text) == (429, True)
        path = f"/v1/tasks/{task.id}/events"
        headers = {**AUTHORIZED, "X-Forwarded-For": "203.0.113.1"}
        async with http.session.get(path, headers=headers) as response:
            assert (response.status, response.headers.get("Retry-After")) == (429, "5")
        async with watcher_of(http.edge, **seen_as("203.0.113.2")):
            pass


async def test_streams_over_http_count_too(
    tight: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    path, forwarded = f"/v1/tasks/{task.id}/events", {"X-Forwarded-For": "203.0.113.1"}
    async with http_of(tight, redis, postgres) as http, watcher_of(http.edge, **seen_as("203.0.113.1")):
        async with http.session.get(path, headers={**AUTHORIZED, **forwarded}) as response:
            assert response.status == 200
            assert await http.status(path, **AUTHORIZED, **forwarded) == 429
        await until(lambda: http.edge.clients == 1)
        async with http.session.get(path, headers={**AUTHORIZED, **forwarded}) as response:
            assert response.status == 200


async def test_a_tenant_has_so_many_connections(
    tight: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with http_of(tight, redis, postgres) as http:
        edge = http.edge
        async with watcher_of(edge, **seen_as("203.0.113.1")), watcher_of(edge, **seen_as("203.0.113.2")):
            async with watcher_of(edge, **seen_as("203.0.113.3")):
                async with line_to(edge, **seen_as("203.0.113.4")) as line:
                    watcher = Watcher(line)
                    await watcher.send({"t": "hello", "token": KEY})
                    code, reason = await watcher.closed()
                    assert (code, "tenant" in reason) == (OVER, True)
                path = f"/v1/tasks/{task.id}/events"
                headers = {**AUTHORIZED, "X-Forwarded-For": "203.0.113.5"}
                async with http.session.get(path, headers=headers) as response:
                    assert (response.status, response.headers.get("Retry-After")) == (429, "5")
                other, _ = Tokens.of(tight).sign("other", Grant(feed=True), 60)
                async with line_to(edge, **seen_as("203.0.113.4")) as line:
                    watcher = Watcher(line)
                    await watcher.send({"t": "hello", "token": other})
                    assert (await watcher.next())["t"] == "welcome"
            await until(lambda: edge.clients == 2)
            async with watcher_of(edge, **seen_as("203.0.113.3")):
                pass


async def test_of_too_many_who_say_nothing_the_oldest_makes_room(
    settings: Settings, redis: Redis, postgres: Postgres
) -> None:
    few = settings.model_copy(update={"max_pending_hellos": 3})
    async with edge_of(few, redis, postgres) as edge, watcher_of(edge) as known:
        half_open = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(2)]
        async with line_to(edge) as silent, line_to(edge) as late:
            async with asyncio.timeout(3):  # well before they would be closed for their silence
                assert await half_open[0][0].read() == b""
            watcher = Watcher(late)
            async with watcher_of(edge):
                await watcher.send({"t": "hello", "token": KEY})
                assert (await watcher.next())["t"] == "welcome"
            await known.send({"t": "ping"})
            assert (await known.next())["t"] == "pong"
            assert silent.close_code is None
        for _, writer in half_open:
            writer.close()


async def test_a_full_subscription_anew_fits_and_a_flood_does_not(
    settings: Settings, redis: Redis, postgres: Postgres
) -> None:
    limits = Limits(subs=100, frames=50)
    tasks = [uuid7() for _ in range(100)]
    async with edge_of(settings, redis, postgres, limits=limits) as edge, watcher_of(edge) as watcher:
        for frame in ("sub", "unsub", "sub"):
            for number, task in enumerate(tasks):
                await watcher.send({"t": frame, "id": number, **({"task": str(task)} if frame == "sub" else {})})
        await watcher.send({"t": "ping"})
        await watcher.until(lambda frame: frame["t"] == "pong")
        for _ in range(400):
            await watcher.send({"t": "ping"})
        code, reason = await watcher.closed()
        assert (code, reason) == (OVER, "over a limit: more than 50 frames a second")


async def test_an_address_that_sent_too_much_stays_out_for_a_while(
    tight: Settings, redis: Redis, postgres: Postgres
) -> None:
    async with edge_of(tight, redis, postgres, limits=Limits(subs=1, frames=1)) as edge:
        async with watcher_of(edge, **seen_as("203.0.113.1")) as flooder:
            for _ in range(300):
                await flooder.send({"t": "ping"})
            assert (await flooder.closed())[0] == OVER
        status, text = await refused(edge, **seen_as("203.0.113.1"))
        assert (status, "too much" in text) == (429, True)
        async with watcher_of(edge, **seen_as("203.0.113.2")):
            pass


@pytest.mark.parametrize(
    ("opcode", "fin", "data"),
    [(Opcode.PING, True, b"x" * 125), (Opcode.PONG, True, b""), (Opcode.TEXT, False, b"")],
    ids=["pings", "pongs", "fragments"],
)
async def test_frames_that_are_no_messages_count(
    settings: Settings, redis: Redis, postgres: Postgres, opcode: Opcode, fin: bool, data: bytes
) -> None:
    async with edge_of(settings, redis, postgres, limits=Limits(subs=1, frames=1)) as edge, watcher_of(edge) as watcher:
        line: Any = watcher.line
        for number in range(400):
            kind = Opcode.CONT if opcode is Opcode.TEXT and number else opcode
            line.transport.write(Frame(kind, data, fin=fin).serialize(mask=True))
        assert (await watcher.closed())[0] == OVER


async def test_what_one_client_sends_at_once_does_not_hold_up_the_others(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Session] = []
    receive = Session.receive

    def noted(session: Session, message: str | bytes, now: float) -> None:
        order.append(session)
        receive(session, message, now)

    async with watcher_of(edge) as busy, watcher_of(edge) as other:
        monkeypatch.setattr(Session, "receive", noted)
        ping = Frame(Opcode.TEXT, b'{"t":"ping"}').serialize(mask=True)
        for watcher, times in ((busy, 1000), (other, 1)):
            line: Any = watcher.line
            line.transport.write(ping * times)
        assert (await other.next())["t"] == "pong"
        await busy.send({"t": "sub", "id": 1, "task": str(uuid7())})
        await busy.until(lambda frame: frame["t"] == "err")
    [alone] = [session for session in set(order) if order.count(session) == 1]
    assert order.index(alone) < 100


async def test_of_a_flood_little_more_than_its_beginning_is_looked_at(
    settings: Settings, redis: Redis, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(subs=1, frames=1)
    looked_at = 0
    process = Connection.process_event

    def counted(connection: Connection, event: Event) -> None:
        nonlocal looked_at
        looked_at += 1
        process(connection, event)

    monkeypatch.setattr(Connection, "process_event", counted)
    async with edge_of(settings, redis, postgres, limits=limits) as edge, watcher_of(edge) as watcher:
        line: Any = watcher.line
        pong = Frame(Opcode.PONG, b"").serialize(mask=True)
        line.transport.write(pong * 20_000)
        assert (await watcher.closed())[0] == OVER
    assert looked_at < limits.burst + 1_000
