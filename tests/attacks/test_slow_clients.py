"""Clients that take their time keep no connection, on any server that speaks HTTP."""

import asyncio
import socket

import pytest

from milepost.runtime.settings import Settings
from milepost_api import connection
from tests.attacks.conftest import PATIENCE_S, SERVERS, Line, Listener, line_to
from tests.conftest import API_KEY, eventually

pytestmark = pytest.mark.stack


async def test_headers_that_drip_are_cut_off(server: Listener) -> None:
    async with line_to(server.port) as line:
        await line.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        await line.drip(b"y")  # more headers would be too many soon


async def test_headers_of_a_second_request_that_drip_are_cut_off(server: Listener) -> None:
    async with line_to(server.port) as line:
        await line.send(server.request())
        assert (await line.answer())[0] == 200
        await line.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        await line.drip(b"y")  # more headers would be too many soon


async def test_headers_of_a_second_request_have_less_time_than_a_quiet_connection(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost_api.server._KEEP_ALIVE_S", 3600)
    monkeypatch.setattr(connection, "HEADERS_S", PATIENCE_S)
    async with SERVERS["api"](own_settings) as server, line_to(server.port) as line:
        await line.send(server.request())
        assert (await line.answer())[0] == 200
        await line.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
        await line.drip(b"y")  # more headers would be too many soon


async def test_line_breaks_between_requests_are_no_requests(server: Listener) -> None:
    async with line_to(server.port) as line:
        await line.send(server.request())
        assert (await line.answer())[0] == 200
        await line.drip(b"\r\n")


@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_body_that_nobody_reads_keeps_no_connection(server: Listener, length: str) -> None:
    async with line_to(server.port) as line:
        await line.send(server.request(None, length))
        assert (await line.answer())[0] == 200
        await line.drip(b"1\r\nx\r\n" if "chunked" in length else b"x")


async def test_a_body_that_never_begins_keeps_no_connection(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost_api.body.BODY_S", PATIENCE_S)
    async with SERVERS["api"](own_settings) as server, line_to(server.port) as line:
        await line.send(
            b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
            b"Authorization: Bearer " + API_KEY.encode() + b"\r\n\r\n"
        )
        async with asyncio.timeout(30):
            assert (await line.all()).startswith(b"HTTP/1.1 400")


async def test_requests_far_ahead_of_their_answers_are_cut_off(own_settings: Settings) -> None:
    async with SERVERS["api"](own_settings) as server:
        async with line_to(server.port) as line:
            line.writer.write(server.request() * 10_000)
            async with asyncio.timeout(30):
                assert (await line.all()).count(b"HTTP/1.1 200") < 1_000
        async with line_to(server.port) as line:
            await line.send(server.request() * 10)
            for _ in range(10):
                assert (await line.answer())[0] == 200


async def test_who_takes_no_answer_is_given_up(server: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PIPELINED", 1_000_000)  # or that would be why
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)  # noqa: FBT003 - the name of the parameter cannot be given
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    line = Line(reader, writer)
    asking = asyncio.create_task(_ask_without_end(line, server.request(server.large_path)))

    # A reset is noticed by who writes.
    try:
        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await asking
    finally:
        asking.cancel()
        writer.transport.abort()


async def _ask_without_end(line: Line, request: bytes) -> None:
    while True:
        await line.send(request * 500)
        await asyncio.sleep(0)  # the server is in this process


@pytest.mark.parametrize("server", ["api"], indirect=True)
async def test_those_who_only_sit_there_make_room_for_who_asks(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEADERS_S", 3600.0)
    monkeypatch.setattr(connection, "MOST_WAITING", 5)
    sitting = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
    try:

        async def fifteen_are_gone() -> bool:
            return sum(reader.at_eof() for reader, _ in sitting) >= 15

        await eventually(fifteen_are_gone, "the oldest are closed")
        async with line_to(server.port) as line:
            await line.send(server.request())
            assert (await line.answer())[0] == 200
    finally:
        for _, writer in sitting:
            writer.transport.abort()
