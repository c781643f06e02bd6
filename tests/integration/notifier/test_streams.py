"""Server-sent events over real HTTP, through a real Redis and Postgres."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from milepost.domain.feed_filter import Filter
from milepost.domain.grant import Grant
from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens
from milepost_notifier import stream
from milepost_notifier.limits import Limits
from milepost_notifier.session import Session
from tests.integration.notifier.acting import KEY, TENANT, Living, Postgres, Server
from tests.integration.notifier.reading import AUTHORIZED, Http, http_of
from tests.integration.notifier.test_watching import until
from tests.server_sent import Block
from tests.unit.notifier.making import TreeClient

PAGE = "https://app.example"


@pytest.fixture
async def http(settings: Settings, redis: Redis, postgres: Postgres) -> AsyncIterator[Http]:
    async with http_of(settings, redis, postgres) as http:
        yield http


def address_of(http: Http) -> tuple[str, int]:
    url = http.session._base_url
    assert url is not None
    assert url.host is not None
    assert url.port is not None
    return url.host, url.port


def events_of(task: Living | str, query: str = "") -> str:
    return f"/v1/tasks/{task if isinstance(task, str) else task.id}/events{query}"


async def test_a_task_from_its_snapshot_to_its_end(http: Http, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started()])
    async with http.get(events_of(task)) as reader:
        assert reader.response.status == 200
        headers = reader.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers
        await reader.at(1, 0)
        await snapshots.apply([task.progress(1), task.log("one"), task.succeeded({"text": "a\nb\r\nc\u2028d"})])
        assert await reader.rest() == ["progress", "log", "succeeded", "end"]
        assert reader.client.ended
        assert reader.client.task == task.task
        assert [event.id for event in reader.events] == ["1:0", "1:1", "1:2", None, "1:3"]
        assert reader.retry is not None
        assert 500 <= reader.retry <= 2500
    await until(lambda: http.edge.clients == 0)


async def test_last_event_id_resumes_without_a_gap(http: Http, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started()])
    async with http.get(events_of(task)) as reader:
        await reader.at(1, 0)
        await snapshots.apply([task.log("one")])
        await reader.at(1, 1)
        client, last = reader.client, reader.last_id
    await snapshots.apply([task.log("two"), task.log("three")])
    for more in ({"Last_Event_ID": last}, {}):
        query = "" if more else f"?last_event_id={last}"
        async with http.get(events_of(task, query), **more) as reader:
            reader.client.task, reader.client.at = client.task, client.at
            assert (await reader.at(1, 2)).kind == "log"
            await reader.at(1, 3)
    async with http.get(events_of(task, "?last_event_id=0:0"), Last_Event_ID="1:3") as reader:
        assert reader.response.status == 200, "who missed nothing is not kept waiting for an answer"
        await snapshots.apply([task.progress(50)])
        reader.client.task, reader.client.at = task.task, (1, 3)
        event = await reader.next()
        assert event is not None
        assert event.frame["prev"] == [1, 3]


async def test_who_has_the_end_is_told_not_to_come_back_and_who_lacks_it_gets_it(
    http: Http, snapshots: Snapshots
) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), task.progress(3), task.succeeded()])
    assert await http.status(events_of(task), **AUTHORIZED, **{"Last-Event-ID": "1:2"}) == 204
    async with http.get(events_of(task), Last_Event_ID="1:1") as reader:
        reader.client.task, reader.client.at = {}, (1, 1)
        assert await reader.rest() == ["succeeded", "end"]
    async with http.get(events_of(task)) as reader:
        assert await reader.rest() == ["snap", "end"]
        assert [event.id for event in reader.events] == [None, "1:2"]


async def test_a_task_only_postgres_knows_is_shown(http: Http, postgres: Postgres) -> None:
    task = Living(postgres)
    task.started()
    async with http.get(events_of(task)) as reader:
        event = await reader.next()
        assert event is not None
        assert (event.kind, event.frame["at"], event.frame["task"]["state"]) == ("snap", [1, 0], "running")


@pytest.mark.parametrize("forged", ["9:9", "2147483647:2147483647", "1:99", "99:0"])
async def test_a_position_from_nowhere_gets_a_snapshot_that_says_so(
    http: Http, snapshots: Snapshots, forged: str
) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started()])
    async with http.get(events_of(task), Last_Event_ID=forged) as reader:
        event = await reader.next()
        assert event is not None
        assert (event.kind, event.frame["at"], event.frame["reset"]) == ("snap", [1, 0], True)


@pytest.mark.parametrize(
    "odd",
    ["", "x", "1", "1:", ":1", "1:2:3", "1,2", "-1:0", "1:-1", "+1:0", "1.0:0", "1:0 ", "01:0", "1e3:0", "2147483648:0",
     "99999999999:0", "1:0\x00", "\u0661:0", "[1,0]", "null", "1:0, 1:0", "' or 1=1 --"],
)  # fmt: skip
async def test_an_odd_last_event_id_is_refused(http: Http, snapshots: Snapshots, odd: str) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with http.session.get(events_of(task), params={"last_event_id": odd}, headers=AUTHORIZED) as response:
        assert response.status == 400
        assert (await response.json())["type"].endswith("/bad-request")
    if odd.isprintable() and odd == odd.strip():
        assert await http.status(events_of(task), **AUTHORIZED, **{"Last-Event-ID": odd}) == 400


async def test_refusals_are_problem_documents(http: Http, snapshots: Snapshots) -> None:
    task, foreign = Living(), Living(tenant="other")
    await snapshots.apply([task.queued(), foreign.queued()])
    path = events_of(task)
    assert await http.status(path) == 401
    assert await http.status(path, Authorization="Bearer ") == 401
    assert await http.status(path, Authorization="Basic eDp5") == 401
    assert await http.status(path, Authorization="Bearer wrong") == 401
    assert await http.status(path, Authorization="Bearer schl\u00fcssel") == 401
    assert await http.status(path, Authorization="Bearer " + "x" * 5000) == 401
    assert await http.status(events_of(foreign), **AUTHORIZED) == 404
    assert await http.status(events_of(str(uuid7())), **AUTHORIZED) == 404
    assert await http.status(events_of("-" * 36), **AUTHORIZED) == 404
    assert await http.status(events_of("nonsense"), **AUTHORIZED) == 404
    assert await http.status("/v1/nothing", **AUTHORIZED) == 404
    assert await http.status(path, "POST", **AUTHORIZED) == 405
    assert await http.status(path, "OPTIONS", **AUTHORIZED) == 405
    for query in (f"?token={KEY}", f"?key={KEY}", "?x=1", "?", "?last_event_id=1:0&last_event_id=1:0", "?&", "?%ff=1"):
        expected = 200 if query == "?" else 400
        assert await http.status(path + query, **AUTHORIZED) == expected, query
    assert http.edge.clients == 0


async def test_a_refusal_names_the_trace_its_request_came_with(http: Http) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with http.session.get(events_of(str(uuid7())), headers=headers) as response:
        assert (await response.json())["trace_id"] == trace
    async with http.session.get(events_of(str(uuid7())), headers={"traceparent": "00-odd"}) as response:
        assert (await response.json())["trace_id"] not in {None, trace}


async def test_a_refused_request_says_when_to_come_again(
    settings: Settings, redis: Redis, postgres: Postgres, snapshots: Snapshots
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with (
        http_of(settings.model_copy(update={"max_connections": 1}), redis, postgres) as http,
        http.get(events_of(task)) as reader,
    ):
        await reader.at(0, 0)
        async with http.session.get(events_of(task), headers=AUTHORIZED) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "2"
        async with http.get(events_of(task), Last_Event_ID="0:0") as back:
            assert back.response.status == 200, "an EventSource gives up at anything else"
            assert await back.rest() == ["bye"]
            assert back.retry == back.events[0].frame["after"]


async def test_of_two_origins_none_counts(http: Http) -> None:
    task = Living()
    for second in (PAGE, "https://evil.example"):
        headers = [("Origin", PAGE), ("Origin", second), *AUTHORIZED.items()]
        async with http.session.get(events_of(task), headers=headers) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://app.example.evil.example", "https://app.example:8443",
     "http://app.example", "https://app.example/", "HTTPS://APP.EXAMPLE", "https://sub.app.example", "*", ""],
)  # fmt: skip
async def test_pages_of_other_origins_get_nothing(http: Http, snapshots: Snapshots, origin: str) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    ask = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for method, headers in (("GET", AUTHORIZED), ("OPTIONS", {})):
        async with http.session.request(method, events_of(task), headers={**ask, **headers}) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
            assert response.headers["Vary"] == "Origin"


async def test_pages_of_an_allowed_origin_may_read_also_the_refusals(http: Http, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    ask = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    async with http.session.options(events_of(task), headers=ask) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Access-Control-Allow-Methods"] == "GET"
        assert {"Authorization", "Last-Event-ID"} <= set(response.headers["Access-Control-Allow-Headers"].split(", "))
        assert "Access-Control-Allow-Credentials" not in response.headers
    for path in (events_of(task), events_of(str(uuid7()))):
        async with http.get(path, Origin=PAGE) as reader:
            assert reader.response.headers["Access-Control-Allow-Origin"] == PAGE
            assert reader.response.headers["Vary"] == "Origin"
    async with http.session.get(events_of(task), headers={"Origin": PAGE}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == PAGE


async def test_a_drain_says_bye_and_how_long_to_wait(
    settings: Settings, redis: Redis, postgres: Postgres, snapshots: Snapshots
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with http_of(settings, redis, postgres) as http, http.get(events_of(task)) as one:
        await one.at(0, 0)
        async with http.get(events_of(task)) as two:
            await two.at(0, 0)
            draining = asyncio.create_task(http.edge.drain(asyncio.Event()))
            for reader in (one, two):
                assert await reader.rest() == ["bye"]
                assert reader.retry == reader.events[-1].frame["after"]
                assert reader.retry in range(2001)
                assert reader.last_id == "0:0"
            await draining
        assert await http.status(events_of(task), **AUTHORIZED) == 503


async def test_a_quiet_stream_beats(http: Http, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    task = Living()
    await snapshots.apply([task.queued()])
    async with http.get(events_of(task)) as reader:
        await reader.at(0, 0)
        coming = asyncio.create_task(reader.next())
        await until(lambda: reader.comments >= 3)
        await snapshots.apply([task.started()])
        assert (await coming) is not None
        assert reader.client.at == (1, 0)


async def test_a_client_that_goes_is_forgotten(http: Http, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with http.get(events_of(task)) as reader:
        await reader.at(0, 0)
        assert http.edge.clients == 1
        reader.response.close()
        await until(lambda: http.edge.clients == 0)
    assert not http.edge.watching


async def test_an_older_http_is_served_too(http: Http, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), task.succeeded()])
    line, writer = await asyncio.open_connection(*address_of(http))
    writer.write(f"GET {events_of(task)} HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    text = await line.read()
    writer.close()
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body.startswith(b"retry: ")
    assert body.endswith(b"\n\n")
    assert b"event: end\n" in body


@contextmanager
def stuck_client(http: Http, task: Living) -> Iterator[socket.socket]:
    """Ask, and then read nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(address_of(http))
        sock.sendall(f"GET {events_of(task)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        yield sock


async def all_of(sock: socket.socket) -> bytes:
    """Read to the end."""

    def read() -> bytes:
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)

    return await asyncio.to_thread(read)


async def session_of(http: Http, task: Living) -> Session:
    """Wait for the session that watches a task."""
    found: list[Session] = []

    def look() -> bool:
        sessions = [peer.session for peer in http.edge._connections if peer.session is not None]
        found.extend(session for session in sessions if task.id in session._following._by_task)
        return bool(found)

    await until(look)
    return found[0]


async def test_a_slow_reader_is_degraded_and_still_gets_all_lifecycle_and_the_end(
    settings: Settings, redis: Redis, postgres: Postgres, snapshots: Snapshots
) -> None:
    task, quick = Living(), Living()
    await snapshots.apply([task.queued(), task.started(), quick.queued()])
    limits = Limits(soft=64 * 1024, hard=2**30, cap=2**31)
    async with http_of(settings, redis, postgres, limits=limits) as http, http.get(events_of(quick)) as other:
        await other.at(0, 0)
        with stuck_client(http, task) as stuck:
            session = await session_of(http, task)
            line = "x" * 8000
            while not session.lagging:
                await snapshots.apply([task.log(line) for _ in range(50)])
            assert session.stalled
            size = session.outbox.size
            for _ in range(5):
                await snapshots.apply([task.log(line) for _ in range(50)])
            assert session.outbox.size <= size + 64 * 1024, "a stuck client is not a heap"
            await snapshots.apply([task.succeeded()])
            await snapshots.apply([quick.started()])
            await other.at(1, 0)
            text = await all_of(stuck)
        assert text.count(b"event: succeeded\n") == 1
        assert text.count(b"event: end\n") == 1
        assert text.count(b"event: log\n") <= task.at.seq - 250
        assert text.endswith(b"0\r\n\r\n")


async def test_a_reader_that_is_far_too_slow_is_given_up(
    settings: Settings, redis: Redis, postgres: Postgres, snapshots: Snapshots
) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started()])
    limits = Limits(soft=1024, hard=2048, patience=0.2)
    async with http_of(settings, redis, postgres, limits=limits) as http:
        with stuck_client(http, task) as stuck:
            session = await session_of(http, task)
            while not session.lagging:
                await snapshots.apply([task.log("x" * 8000) for _ in range(50)])
            # Lifecycle is never left out, so only it can fill the outbox of one who reads nothing.
            await snapshots.apply([task.succeeded("y" * 4000)])
            await until(lambda: http.edge.clients == 0)
            with suppress(ConnectionResetError):
                assert not (await all_of(stuck)).endswith(b"0\r\n\r\n"), "a broken response must not look whole"


@pytest.mark.parametrize(
    "more", [b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n" * 100, b"x" * 4000], ids=["requests", "noise"]
)
async def test_a_client_that_goes_on_talking_is_not_listened_to_and_still_told(
    http: Http, snapshots: Snapshots, more: bytes
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    line, writer = await asyncio.open_connection(*address_of(http))
    writer.write(f"GET {events_of(task)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    await line.readuntil(b"event: snap")
    # The server reads no more when some requests wait, so after what fits on the way nothing more gets out.
    while writer.transport.get_write_buffer_size() < 8 * 1024 * 1024:
        writer.write(more)
        await asyncio.sleep(0)
    await snapshots.apply([task.started()])
    await line.readuntil(b"event: started")
    writer.transport.abort()
    await snapshots.apply([task.succeeded()])
    await until(lambda: http.edge.clients == 0)


async def test_a_connection_that_never_says_what_it_wants_is_closed(
    settings: Settings, redis: Redis, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.runtime.health.IDLE_S", 0.2)
    async with http_of(settings, redis, postgres) as http:
        line, writer = await asyncio.open_connection(*address_of(http))
        writer.write(b"GET /v1/tasks/x/events HTTP/1.1\r\nHost: x\r\nX-Slow:")
        async with asyncio.timeout(20):
            assert not await line.read()
        writer.close()


async def test_the_last_lines_come_with_the_snapshot(http: Http, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), *(task.log(str(n)) for n in range(5))])
    async with http.get(events_of(task, "?tail=2")) as reader:
        event = await reader.next()
        assert event is not None
        assert [each["data"]["line"] for each in event.frame["tail"]] == ["3", "4"]
    for odd in ("", "x", "-1", "257", "1.0", "+1", "\u0661", "0x1"):
        async with http.session.get(events_of(task), params={"tail": odd}, headers=AUTHORIZED) as response:
            assert response.status == 400


async def test_a_tree_is_told_too_and_only_the_task_itself_gives_ids(
    http: Http, snapshots: Snapshots, postgres: Postgres
) -> None:
    root = Living(postgres)
    above: dict[str, Any] = {"parent_id": str(root.id), "root_id": str(root.id)}
    before, later = Living(postgres, **above), Living(**above)
    await snapshots.apply([root.queued(), before.queued(), root.started()])
    async with http.get(events_of(root)) as alone, http.get(events_of(root, "?tree=true")) as reader:
        await alone.at(1, 0)
        reader.tree = tree = TreeClient(root.id)
        while tree.tasks.get(str(before.id)) != before.task:
            await reader.next()
        await snapshots.apply([later.queued(), later.started()])
        while tree.tasks.get(str(later.id)) != later.task:
            await reader.next()
        assert reader.last_id == "1:0"
        await snapshots.apply([later.succeeded(), root.progress(1), before.started(), root.succeeded()])
        assert (await reader.rest())[-1] == "end"
        assert await alone.rest() == ["progress", "succeeded", "end"]
    mine = {id_ for event in reader.events if (id_ := event.id) is not None}
    assert mine == {"1:0", "1:1", "1:2"}
    assert all(event.id is None for event in reader.events if str(root.id) not in _told_of(event))
    assert await http.status(events_of(root, "?tree=true"), **AUTHORIZED, **{"Last-Event-ID": "1:2"}) == 204
    for odd in ("", "yes", "True", "1"):
        assert await http.status(events_of(root, f"?tree={odd}"), **AUTHORIZED) == 400


def _told_of(event: Block) -> str:
    """Return the task that an event is about."""
    return str(event.frame.get("task") if event.frame["t"] == "ev" else event.frame["task"]["id"])


async def test_a_feed_tells_what_happens_to_the_tasks_asked_for(http: Http, snapshots: Snapshots) -> None:
    parent = Living(type="a")
    child = Living(parent_id=str(parent.id), root_id=str(parent.id), labels={"team": "x=y", "n": "1"})
    last = Living(labels={"team": "x=y", "n": "1"})
    queries = ["", "?type=t", "?label=team%3Dx%3Dy&label=n%3D1", f"?parent={parent.id}", f"?root={parent.id}&queue=q"]
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(http.get(f"/v1/events{query}")) for query in queries]
        for reader in readers:
            event = await reader.next()
            assert event is not None
            assert (event.kind, event.id, event.frame) == ("live", "live", {"t": "live", "id": 0})
        await snapshots.apply([parent.queued(), child.queued(), child.started(), child.log("x"), child.succeeded()])
        await snapshots.apply([last.queued(), parent.started()])
        found = []
        for reader, until_task in zip(readers, (parent, last, last, child, parent), strict=True):
            seen: list[str] = []
            while seen[-1:] != [str(until_task.id)] or (reader in readers[:1] and seen.count(str(parent.id)) < 2):
                event = await reader.next()
                assert event is not None
                assert (event.kind, event.id) == ("changes", None)
                seen += [change["task"] for change in event.frame["changes"]]
            found.append(set(seen))
    p, c, x = str(parent.id), str(child.id), str(last.id)
    assert found == [{p, c, x}, {c, x}, {c, x}, {c}, {p, c}]


@pytest.mark.parametrize(
    "query",
    ["tipe=t", "type=", "type=a&type=b", "type=a%0Ab", "label=x", "label=a%3D1&label=a%3D2", "label=%3D1", "parent=x",
     "root=1", "labels=a%3D1", "state=queued", "last_event_id=1:0", "last_event_id=", "token=x", "tail=1"],
)  # fmt: skip
async def test_a_feed_of_what_cannot_be_is_refused(http: Http, query: str) -> None:
    assert await http.status(f"/v1/events?{query}", **AUTHORIZED) == 400


async def test_a_feed_nobody_can_tell_is_refused_instead_of_waited_for(
    http: Http, redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FIRST_S", 0.3)
    redis_server.stop()
    try:
        async with http.session.get("/v1/events", headers=AUTHORIZED) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "2"
    finally:
        redis_server.start()
    await until(lambda: http.edge.clients == 0)


async def test_who_comes_back_to_a_feed_is_told_that_it_is_live_again(
    settings: Settings, redis: Redis, postgres: Postgres
) -> None:
    async with http_of(settings.model_copy(update={"max_connections": 1}), redis, postgres) as http:
        async with http.get("/v1/events", Last_Event_ID="live") as reader:
            event = await reader.next()
            assert event is not None
            assert event.kind == "live"
            assert await http.status("/v1/events", **AUTHORIZED) == 503
            async with http.get("/v1/events", Last_Event_ID="live") as back:
                assert await back.rest() == ["bye"]
        assert await http.status("/v1/events") == 401


async def test_a_watch_token_opens_what_it_covers_and_nothing_else(
    http: Http, settings: Settings, snapshots: Snapshots
) -> None:
    mine, other = Living(labels={"customer": "42"}), Living()
    await snapshots.apply([mine.queued(), other.queued()])
    tokens = Tokens.of(settings)
    feed = Grant(feed=True, filter=Filter(type="t"))
    rows: list[tuple[Grant, str, int]] = [
        (Grant(task=mine.id), events_of(mine), 200),
        (Grant(task=mine.id), events_of(other), 403),
        (Grant(task=mine.id), events_of(str(uuid7())), 403),
        (Grant(task=mine.id), "/v1/events", 403),
        (Grant(label=("customer", "42")), events_of(mine), 200),
        (Grant(label=("customer", "42")), events_of(other), 403),
        (Grant(label=("customer", "42")), "/v1/events", 200),
        (Grant(label=("customer", "42")), "/v1/events?label=customer%3D43", 403),
        (feed, "/v1/events", 200),
        (feed, "/v1/events?type=u", 403),
        (feed, events_of(mine), 403),
    ]
    for grant, path, status in rows:
        token, _ = tokens.sign(TENANT, grant, 60)
        assert await http.status(path, Authorization=f"Bearer {token}") == status, (grant, path)
    old, _ = tokens.sign(TENANT, Grant(task=mine.id), 60, now=time.time() - 61)
    foreign, _ = tokens.sign("other", Grant(task=mine.id), 60)
    forged, _ = Tokens([b"x" * 32]).sign(TENANT, Grant(task=mine.id), 60)
    for token, status in ((old, 401), (forged, 401), (foreign, 404)):
        assert await http.status(events_of(mine), Authorization=f"Bearer {token}") == status


async def test_a_token_that_runs_out_ends_the_stream_and_says_so(
    http: Http, settings: Settings, snapshots: Snapshots
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    token, _ = Tokens.of(settings).sign(TENANT, Grant(task=task.id), 2)
    async with http.get(events_of(task), Authorization=f"Bearer {token}") as reader:
        *told, last = await reader.rest()
        assert (sorted(told), last) == (["refresh", "snap"], "close")
        assert reader.events[-1].frame == {"t": "close", "code": 4003, "reason": "token expired"}
        assert reader.last_id == "0:0"
