"""Requests to receivers: where they may go, and what receivers may do to us. Real servers, certificates and DNS."""

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from aiohttp import web

from milepost.webhooks.message import Message
from milepost.webhooks.outgoing import ANSWER_BYTES, HEADERS
from tests.integration.webhooks.conftest import HERE, NAME, MakeOutgoing
from tests.names import Names
from tests.receiver import Receiver, never, receiving, saying

MESSAGE = Message({"content-type": "application/json", "webhook-id": "a:1"}, b'{"type":"ping"}')


def _url(receiver: Receiver, name: str = NAME, path: str = "/hook") -> str:
    return f"https://{name}:{receiver.port}{path}"


async def test_a_message_arrives_over_tls_at_the_name_it_was_sent_to(
    outgoing: MakeOutgoing, receiver: Receiver
) -> None:
    receiver.answer = saying(200, "thanks")
    reply = await outgoing().send(_url(receiver), MESSAGE)
    assert (reply.answered.status, reply.answered.error, reply.answer) == (200, None, "thanks")
    (got,) = receiver.received
    assert (got.path, got.body, got.headers["webhook-id"]) == ("/hook", MESSAGE.body, "a:1")
    assert got.headers["host"] == f"{NAME}:{receiver.port}"
    assert "cookie" not in got.headers
    assert "authorization" not in got.headers


# -- addresses


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["100.64.0.1"], ["0.0.0.1"], ["::1"], ["::ffff:127.0.0.2"],
        ["::ffff:169.254.169.254"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["fe80::1"], ["fd00::1"], ["ff02::1"],
        [HERE, "127.0.0.1"], [HERE, "::1"],
    ],
    ids=str,
)  # fmt: skip
async def test_a_name_that_leads_to_a_closed_address_is_sent_nothing(
    outgoing: MakeOutgoing, receiver: Receiver, names: Names, addresses: list[str]
) -> None:
    names.table["evil.example"] = [addresses]
    reply = await outgoing().send(_url(receiver, "evil.example"), MESSAGE)
    assert reply.answered.status is None
    assert "is not public" in (reply.answered.error or "")
    assert receiver.received == []


async def test_a_name_that_changes_between_look_up_and_connection_changes_nothing(
    outgoing: MakeOutgoing, receiver: Receiver, names: Names, certified: Callable[[str], ssl.SSLContext]
) -> None:
    names.table[NAME] = [[HERE], ["127.0.0.1"]]
    async with receiving("127.0.0.1", certified(NAME), receiver.port) as inside:
        sending = outgoing()
        assert (await sending.send(_url(receiver), MESSAGE)).answered.status == 204
        assert [name for name in names.asked if name == NAME] == [NAME, NAME], "A and AAAA, once each"
        await sending.close()
        # Asked anew, for a new connection, it says the other thing: and is refused.
        reply = await outgoing().send(_url(receiver), MESSAGE)
        assert "127.0.0.1, which is not public" in (reply.answered.error or "")
        assert inside.received == []
        assert len(receiver.received) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/", "https://127.1:{port}/", "https://2130706433:{port}/", "https://0x7f.1:{port}/",
        "https://[::1]:{port}/", "https://[::ffff:127.0.0.1]:{port}/", "http://127.0.0.1:{port}/", "https://1.1.1.1/",
        "https://u:p@hooks.example:{port}/", "file:///etc/passwd", "https://localhost:{port}/",
    ],
)  # fmt: skip
async def test_a_url_that_is_no_good_any_more_is_sent_nothing(
    outgoing: MakeOutgoing, certified: Callable[[str], ssl.SSLContext], url: str
) -> None:
    async with receiving("127.0.0.1", certified("127.0.0.1")) as inside:
        reply = await outgoing().send(url.format(port=inside.port), MESSAGE)
        assert reply.answered.status is None
        assert inside.received == []


async def test_an_address_is_looked_at_once_more_where_the_connection_is_made(
    outgoing: MakeOutgoing, receiver: Receiver
) -> None:
    sending = outgoing()
    # As if whatever stands before it had been passed: aiohttp asks no resolver for an address.
    answer = sending._session.post(f"https://127.0.0.1:{receiver.port}/", data=b"")
    with pytest.raises(Exception, match="is not public"):
        await answer


async def test_a_port_that_is_not_allowed_is_not_connected_to(outgoing: MakeOutgoing, receiver: Receiver) -> None:
    reply = await outgoing(webhook_ports=["443"]).send(_url(receiver), MESSAGE)
    assert "should use one of the ports 443" in (reply.answered.error or "")
    assert receiver.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(outgoing: MakeOutgoing, receiver: Receiver, status: int) -> None:
    receiver.answer = saying(status, Location=f"https://{NAME}:{receiver.port}/elsewhere")
    reply = await outgoing().send(_url(receiver), MESSAGE)
    assert reply.answered.status == status
    assert "redirects are not followed" in (reply.answered.error or "")
    assert [got.path for got in receiver.received] == ["/hook"]


async def test_proxies_of_the_environment_play_no_part(
    outgoing: MakeOutgoing, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await outgoing().send(_url(receiver), MESSAGE)).answered.status == 204


# -- certificates


async def test_a_certificate_for_another_name_is_refused(
    outgoing: MakeOutgoing, receiver: Receiver, names: Names
) -> None:
    names.table["other.example"] = [[HERE]]
    reply = await outgoing().send(_url(receiver, "other.example"), MESSAGE)
    assert "The certificate was refused" in (reply.answered.error or "")
    assert receiver.received == []


async def test_a_certificate_of_an_unknown_authority_is_refused(outgoing: MakeOutgoing) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(NAME).configure_cert(context)
    async with receiving(HERE, context) as stranger:
        reply = await outgoing().send(_url(stranger), MESSAGE)
        assert "The certificate was refused" in (reply.answered.error or "")
        assert stranger.received == []


async def test_the_systems_authorities_count_unless_others_are_named(
    outgoing: MakeOutgoing, receiver: Receiver
) -> None:
    reply = await outgoing(webhook_cafile=None).send(_url(receiver), MESSAGE)
    assert "The certificate was refused" in (reply.answered.error or "")


async def test_http_is_sent_to_only_where_it_is_allowed(outgoing: MakeOutgoing) -> None:
    async with receiving(HERE) as plain:
        url = f"http://{NAME}:{plain.port}/"
        assert "should begin with https://" in ((await outgoing().send(url, MESSAGE)).answered.error or "")
        assert plain.received == []
        assert (await outgoing(webhook_http=True).send(url, MESSAGE)).answered.status == 204


# -- what receivers do


@pytest.mark.parametrize(
    ("status", "pause"), [(400, None), (410, None), (429, "7"), (500, None), (503, "Wed, 21 Oct 2026 07:28:00 GMT")]
)
async def test_what_a_receiver_answers_is_told(
    outgoing: MakeOutgoing, receiver: Receiver, status: int, pause: str | None
) -> None:
    receiver.answer = saying(status, "no", **({} if pause is None else {"Retry_After": pause}))
    reply = await outgoing().send(_url(receiver), MESSAGE)
    assert (reply.answered.status, reply.answer) == (status, "no")
    assert reply.answered.error == f"The receiver answered {status}."
    assert reply.answered.retry_after == (7.0 if pause == "7" else None)


async def test_a_receiver_that_does_not_answer_is_given_up(outgoing: MakeOutgoing, receiver: Receiver) -> None:
    receiver.answer = never
    async with asyncio.timeout(30):
        reply = await outgoing(webhook_timeout=0.3).send(_url(receiver), MESSAGE)
    assert reply.answered.error == "There was no answer within 0.3 s."


async def test_a_receiver_that_drips_its_answer_is_given_up(
    outgoing: MakeOutgoing, certified: Callable[[str], ssl.SSLContext]
) -> None:
    """Each part of it comes soon: what has a bound is the whole."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(2 * HEADERS):
                writer.write(b"x-%d: y\r\n" % number)
                await writer.drain()
                await asyncio.sleep(0.02)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(drip, HERE, 0, ssl=certified(NAME)) as server:
        url = f"https://{NAME}:{server.sockets[0].getsockname()[1]}/"
        reply = await outgoing(webhook_timeout=0.3).send(url, MESSAGE)
    assert reply.answered.error == "There was no answer within 0.3 s."


async def test_a_receiver_that_takes_no_connection_is_given_up_and_that_is_said(
    outgoing: MakeOutgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.webhooks.outgoing.CONNECT_S", 0.2)
    with socket.create_server((HERE, 0)) as deaf:
        # The kernel answers for it, and then nobody: TLS never begins.
        reply = await outgoing().send(f"https://{NAME}:{deaf.getsockname()[1]}/", MESSAGE)
    assert reply.answered.error == "No connection could be made within 0.2 s."


async def test_a_name_server_that_does_not_answer_is_given_up(
    outgoing: MakeOutgoing, receiver: Receiver, names: Names
) -> None:
    names.table["slow.example"] = []
    reply = await outgoing(webhook_timeout=0.3).send(_url(receiver, "slow.example"), MESSAGE)
    assert reply.answered.status is None
    assert reply.answered.error


async def test_names_that_do_not_exist_and_ports_where_nobody_listens_are_told(
    outgoing: MakeOutgoing, receiver: Receiver
) -> None:
    sending = outgoing()
    reply = await sending.send(_url(receiver, "missing.example"), MESSAGE)
    assert reply.answered.error == "The name missing.example could not be resolved."
    reply = await sending.send(f"https://{NAME}:1/", MESSAGE)
    assert "Nobody could be connected to" in (reply.answered.error or "")


async def test_of_a_large_or_endless_answer_the_beginning_is_kept(outgoing: MakeOutgoing, receiver: Receiver) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=200)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    receiver.answer = endless
    reply = await outgoing().send(_url(receiver), MESSAGE)
    assert (reply.answered.status, reply.answer) == (200, "x" * ANSWER_BYTES)


async def test_an_answer_that_begins_and_never_ends_counts_by_its_status(
    outgoing: MakeOutgoing, receiver: Receiver
) -> None:
    async def halting(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=202)
        await response.prepare(request)
        await response.write(b"half")
        return await never(request)

    receiver.answer = halting
    reply = await outgoing(webhook_timeout=0.5).send(_url(receiver), MESSAGE)
    assert (reply.answered.status, reply.answered.error, reply.answer) == (202, None, "half")


async def test_what_comes_behind_a_status_is_not_waited_for(
    outgoing: MakeOutgoing, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def halting(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=202)
        await response.prepare(request)
        return await never(request)

    receiver.answer = halting
    monkeypatch.setattr("milepost.webhooks.outgoing.ANSWER_READ_S", 0.2)
    # A receiver has a minute for its status, and none of it is for what follows.
    async with asyncio.timeout(30):
        reply = await outgoing(webhook_timeout=60).send(_url(receiver), MESSAGE)
    assert (reply.answered.status, reply.answered.error, reply.answer) == (202, None, None)


async def test_compressed_answers_are_not_unpacked(outgoing: MakeOutgoing, receiver: Receiver) -> None:
    bomb = gzip.compress(b"x" * 50_000_000)

    async def packed(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    receiver.answer = packed
    reply = await outgoing().send(_url(receiver), MESSAGE)
    assert reply.answered.status == 200
    assert len(reply.answer or "") <= ANSWER_BYTES
    assert "xxxx" not in (reply.answer or "")


async def test_answers_are_kept_as_text_that_can_be_stored_and_shown(
    outgoing: MakeOutgoing, receiver: Receiver
) -> None:
    async def odd(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, body=b"a\0b\x1b[31m\xff\xed\xa0\x80\ttab\nline")

    receiver.answer = odd
    answer = (await outgoing().send(_url(receiver), MESSAGE)).answer
    assert answer is not None
    assert answer.encode()
    assert not set(answer) & {"\0", "\x1b"}
    assert answer.endswith("\ttab\nline")


async def _raw(answer: bytes, certified: Callable[[str], ssl.SSLContext], outgoing: MakeOutgoing) -> Any:
    """Send to a server that answers these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if answer:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HERE, 0, ssl=certified(NAME))
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await outgoing().send(f"https://{NAME}:{port}/", MESSAGE)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"y" * 100_000 + b"\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 99999 No\r\n\r\n",
        struct.pack("!II", 0, 0) * 10,
        b"",
    ],
    ids=["headers", "header", "line", "garbage", "status", "binary", "nothing"],
)
async def test_what_is_no_proper_answer_fails_and_harms_nobody(
    outgoing: MakeOutgoing, certified: Callable[[str], ssl.SSLContext], answer: bytes
) -> None:
    reply = await _raw(answer, certified, outgoing)
    assert reply.answered.status is None
    # Nor does it say what came: that is shown to people, and is not the answer of a receiver.
    assert reply.answered.error in {
        "What came back is not HTTP, or more of it than is read.",
        "The connection broke before there was an answer.",
    }


async def test_a_receiver_that_speaks_no_tls_is_told(outgoing: MakeOutgoing) -> None:
    async with receiving(HERE) as plain:
        reply = await outgoing().send(_url(plain), MESSAGE)
        assert reply.answered.status is None
        assert reply.answered.error
        assert plain.received == []


async def test_a_receiver_sets_no_cookies(outgoing: MakeOutgoing, receiver: Receiver) -> None:
    receiver.answer = saying(200, Set_Cookie="a=b; Path=/")
    sending = outgoing()
    await sending.send(_url(receiver), MESSAGE)
    await sending.send(_url(receiver), MESSAGE)
    assert "cookie" not in receiver.received[1].headers
