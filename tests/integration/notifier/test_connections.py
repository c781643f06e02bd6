"""How the edge takes, refuses and closes connections."""

import asyncio
import os
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Origin

from milepost.live import Snapshots
from milepost.runtime.settings import Settings
from milepost_notifier.edge import Edge
from milepost_notifier.limits import Limits
from milepost_schemas.frames import CloseCode
from tests.integration.notifier.acting import KEY, Living, Postgres, Watcher, line_to, watcher_of
from tests.integration.notifier.conftest import edge_of

VIOLATION = CloseCode.PROTOCOL_VIOLATION.code


@pytest.mark.parametrize("garbage", ["", "{", '{"t":"dance"}', "[1,2]", "\x00", "[" * 4000, b"\x00\xff", b"{}"])
async def test_garbage_is_closed_with_a_reason(edge: Edge, garbage: str | bytes) -> None:
    async with watcher_of(edge) as watcher:
        await watcher.line.send(garbage)
        code, reason = await watcher.closed()
    assert code == VIOLATION
    assert reason.startswith("protocol violation: ")
    assert ("binary frame" in reason) == isinstance(garbage, bytes)


@pytest.mark.parametrize("first", ['{"t":"ping"}', '{"t":"pong"}', "garbage", b"hello"])
async def test_anything_but_hello_first_is_closed(edge: Edge, first: str | bytes) -> None:
    async with line_to(edge) as line:
        await line.send(first)
        assert (await Watcher(line).closed())[0] == VIOLATION


async def test_a_huge_frame_is_closed(edge: Edge) -> None:
    async with watcher_of(edge) as watcher:
        await watcher.line.send("x" * 20_000)
        assert (await watcher.closed())[0] == 1009


async def test_text_that_is_not_utf8_is_closed(edge: Edge) -> None:
    async with watcher_of(edge) as watcher:
        line: Any = watcher.line
        line.transport.write(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
        assert (await watcher.closed())[0] == 1007


async def test_a_frame_in_endless_fragments_is_closed(edge: Edge) -> None:
    async with watcher_of(edge) as watcher:
        line: Any = watcher.line
        line.transport.write(Frame(Opcode.TEXT, b"x" * 100, fin=False).serialize(mask=True))
        for _ in range(300):
            line.transport.write(Frame(Opcode.CONT, b"x" * 100, fin=False).serialize(mask=True))
        assert (await watcher.closed())[0] == 1009


async def test_a_wrong_token_is_closed(edge: Edge) -> None:
    async with line_to(edge) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": "wrong"})
        assert await watcher.closed() == (CloseCode.BAD_TOKEN.code, CloseCode.BAD_TOKEN.text)


async def test_without_a_key_nobody_gets_in(settings: Settings, redis: Redis, postgres: Postgres) -> None:
    locked = settings.model_copy(update={"api_key": None})
    async with edge_of(locked, redis, postgres) as edge, line_to(edge) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": ""})
        assert (await watcher.closed())[0] == CloseCode.BAD_TOKEN.code


async def test_no_hello_is_closed(settings: Settings, redis: Redis, postgres: Postgres) -> None:
    async with edge_of(settings, redis, postgres, limits=Limits(hello=0.2)) as edge, line_to(edge) as line:
        assert (await Watcher(line).closed())[0] == CloseCode.NO_HELLO.code


async def test_no_pong_is_closed(settings: Settings, redis: Redis, postgres: Postgres) -> None:
    async with edge_of(settings, redis, postgres, limits=Limits(ping=0.2)) as edge, line_to(edge) as line:
        await Watcher(line).send({"t": "hello", "token": KEY})
        kinds = [await line.recv() for _ in range(2)]
        assert kinds[1] == '{"t":"ping"}'
        assert (await Watcher(line).closed())[0] == CloseCode.NO_PONG.code


async def _status(edge: Edge, path: str = "/v1/stream", **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with line_to(edge, uri=f"ws://127.0.0.1:{edge.port}{path}", **options):
            pass
    return refused.value.response.status_code


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "http://app.example",
        "https://app.example/",
        "HTTPS://APP.EXAMPLE",
        "https://sub.app.example",
    ],
)
async def test_pages_of_other_origins_are_refused_before_the_upgrade(edge: Edge, origin: str) -> None:
    assert await _status(edge, origin=Origin(origin)) == 403


async def test_of_two_origins_none_counts(edge: Edge) -> None:
    allowed = ("Origin", "https://app.example")
    assert await _status(edge, additional_headers=[allowed, allowed]) == 403
    assert await _status(edge, additional_headers=[allowed, ("Origin", "https://evil.example")]) == 403


async def test_pages_of_an_allowed_origin_get_in(edge: Edge) -> None:
    async with watcher_of(edge, origin=Origin("https://app.example")) as watcher:
        assert watcher.line.subprotocol == "milepost.v1"


async def test_an_empty_list_lets_no_page_in(settings: Settings, redis: Redis, postgres: Postgres) -> None:
    strict = settings.model_copy(update={"allowed_origins": []})
    async with edge_of(strict, redis, postgres) as edge:
        assert await _status(edge, origin=Origin("https://app.example")) == 403


async def test_wrong_paths_tokens_in_the_url_and_other_subprotocols_are_refused(edge: Edge) -> None:
    assert await _status(edge, "/") == 404
    assert await _status(edge, "/v1/stream?token=secret") == 400
    assert await _status(edge, subprotocols=None) == 400
    assert await _status(edge, subprotocols=["milepost.v2"]) == 400


async def test_one_connection_too_many_is_refused(settings: Settings, redis: Redis, postgres: Postgres) -> None:
    full = settings.model_copy(update={"max_connections": 1})
    async with edge_of(full, redis, postgres) as edge, watcher_of(edge):
        assert await _status(edge) == 503


async def test_a_drain_says_bye_to_everybody_and_lets_nobody_in(
    settings: Settings, redis: Redis, snapshots: Snapshots, postgres: Postgres
) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with edge_of(settings, redis, postgres) as edge, watcher_of(edge) as one, watcher_of(edge) as two:
        await one.sub(task.id)
        await one.next()
        draining = asyncio.create_task(edge.drain(asyncio.Event()))
        for watcher in (one, two):
            assert (await watcher.closed())[0] == CloseCode.DRAINING.code
            assert watcher.frames[-1]["t"] == "bye"
            assert 0 <= watcher.frames[-1]["after"] <= 2000
        await draining
        assert await _status(edge) == 503


async def test_garbage_bytes_on_the_port_harm_nobody(edge: Edge, snapshots: Snapshots) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    async with watcher_of(edge) as watcher:
        await watcher.sub(task.id)
        await watcher.next()
        for data in (os.urandom(2000), b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 500):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(data)
            writer.write_eof()
            await reader.read()
            writer.close()
        await snapshots.apply([task.started()])
        assert (await watcher.next())["at"] == [1, 0]
