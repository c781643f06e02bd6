"""Requests that two servers could understand differently, that grow when unpacked, or that try to speak for us."""

import asyncio
import json
import logging
import re
import tracemalloc
import zlib

import pytest

from tests.attacks.conftest import Listener, line_to

pytestmark = pytest.mark.stack
INSIDE = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "two lengths in one": b"Content-Length: 0, 40\r\n\r\n",
    "a length with a sign": b"Content-Length: +0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "chunks in another coding": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks with a tab": b"Transfer-Encoding:\tchunked, x\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 0\r\n\r\n",
    "a folded line": b"X: y\r\n Content-Length: 40\r\n\r\n",
    "a bare carriage return": b"X: y\rContent-Length: 40\r\n\r\n",
    "the character NUL": b"X: \0\r\n\r\n",
    "a chunk of a negative size": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk with a size beyond all": b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n\r\n",
}


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_what_could_hide_a_second_request_is_refused_and_the_connection_closed(
    server: Listener, rest: bytes
) -> None:
    async with line_to(server.port) as line:
        await line.send(f"POST {server.open_path} HTTP/1.1\r\nHost: x\r\n".encode() + rest + INSIDE)
        async with asyncio.timeout(20):
            said = await line.all()
    statuses = re.findall(rb"HTTP/1\.[01] (\d+)", said)
    assert b"404" not in statuses, said
    assert len(statuses) <= 1
    assert set(statuses) <= {b"400", b"405"}


async def test_what_is_not_http_is_refused_and_does_not_fill_the_log(
    server: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for noise in (
            b"\x16\x03\x01\x02\0\x01\xfc\x03\x03" * 20,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"hello\r\n\r\n",
        ):
            async with line_to(server.port) as line:
                await line.send(noise)
                async with asyncio.timeout(20):
                    said = await line.all()
            assert not said or said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), said
        async with line_to(server.port) as line:
            await line.send(server.request(None, "Connection: Upgrade", "Upgrade: websocket"))
            assert (await line.answer())[0] == 200
    said_by = {record.name for record in caplog.records}
    assert not {name for name in said_by if name.startswith(("uvicorn", "aiohttp", "milepost"))}, caplog.text


async def test_a_bomb_is_not_unpacked(server: Listener) -> None:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    headers = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}", "Content-Type: application/json")
    tracemalloc.start()
    try:
        async with line_to(server.port) as line:
            await line.send(server.request(None, *headers) + bomb)
            assert (await line.answer())[0] in {200, 400, 415}
        async with line_to(server.port) as line:  # whatever the last one cost, the next is served
            await line.send(server.request())
            assert (await line.answer())[0] == 200
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "path", ["/v1/tasks/%0d%0aSet-Cookie:%20a=b", "/v1/%0d%0a%0d%0a<script>", "/%0aX:y?%0d%0aX:y", "/v1/tasks/a%00b"]
)
async def test_nothing_that_is_asked_for_becomes_a_header_or_a_page(server: Listener, path: str) -> None:
    async with line_to(server.port) as line:
        await line.send(server.request(path, "Host: evil.example\r\nConnection: close"))
        async with asyncio.timeout(20):
            head, _, body = (await line.all()).partition(b"\r\n\r\n")
    names = {row.partition(b":")[0].lower() for row in head.split(b"\r\n")[1:]}
    assert not names & {b"set-cookie", b"x"}
    assert b"<script>" not in body
    assert b"evil.example" not in head + body


async def test_every_answer_says_what_it_is_and_that_no_page_may_use_it(server: Listener) -> None:
    for path in (server.open_path, "/nothing/here", "/v1/nothing/here"):
        async with line_to(server.port) as line:
            await line.send(server.request(path, "Connection: close"))
            head = (await line.all()).partition(b"\r\n\r\n")[0].decode().lower()
        names = dict(row.split(": ", 1) for row in head.split("\r\n")[1:])
        assert names["x-content-type-options"] == "nosniff"
        assert names["referrer-policy"] == "no-referrer"
        assert names["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in names["content-security-policy"]
        assert "server" not in names


@pytest.mark.parametrize("server", ["api"], indirect=True)
async def test_what_is_not_http_gets_a_problem_document_from_the_api(server: Listener) -> None:
    async with line_to(server.port) as line:
        await line.send(b"hello\r\n\r\n")
        status, body = await line.answer()
    problem = json.loads(body)
    assert (status, problem["status"]) == (400, 400)
    assert problem["type"].endswith("/bad-request")


@pytest.mark.parametrize("header", [b"X: " + b"y" * 9_000 + b"\r\n", b"X: y\r\n"], ids=["long", "many"])
async def test_headers_without_end_are_refused_by_every_server(server: Listener, header: bytes) -> None:
    async with line_to(server.port) as line:
        await line.send(f"GET {server.open_path} HTTP/1.1\r\nHost: x\r\n".encode() + header * 200 + b"\r\n")
        async with asyncio.timeout(20):
            said = await line.all()
    assert not said or said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), said
