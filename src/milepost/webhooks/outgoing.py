"""Requests to receivers: anybody's URL, so everything about them is bounded and nothing is trusted."""

import asyncio
import re
import socket
from typing import Any, Final

import aiodns
import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from milepost.domain.addresses import closed
from milepost.domain.delivering import Answered, Reply, read_retry_after
from milepost.domain.webhook_url import UrlRules, read_url
from milepost.errors import MilepostError
from milepost.runtime.settings import Settings
from milepost.webhooks.message import Message
from milepost.webhooks.rules import url_rules
from milepost.webhooks.trust import tls_context

CONNECT_S: Final = 5.0
LOOK_UP_S: Final = 2.0
LOOK_UPS: Final = 2
ANSWER_BYTES: Final = 1024
ANSWER_READ_S: Final = 2.0
"""The status decides; what comes behind it is waited for no longer."""
HEADERS: Final = 64
HEADER_BYTES: Final = 8190
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class AddressClosed(MilepostError):
    """A receiver's name leads to an address that is not public. Nothing was sent."""


class _Resolver(AbstractResolver):
    """Resolves a name once for a connection and gives only what may be connected to.

    All of a name's addresses must be public: who mixes in one that is not means no good. The connection is made to what
    is returned here, so a name that says something else a moment later changes nothing.
    """

    def __init__(self, rules: UrlRules, servers: list[str]) -> None:
        self._rules = rules
        self._dns = aiodns.DNSResolver(nameservers=servers or None, timeout=LOOK_UP_S, tries=LOOK_UPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises AddressClosed, OSError."""
        try:
            found = await self._dns.getaddrinfo(host, family=family, port=port, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise OSError(None, error.args[1] if len(error.args) > 1 else "the look-up failed") from error
        results: list[ResolveResult] = []
        for node in found.nodes:
            address = node.addr[0].decode()
            if why := closed(address, self._rules.opened):
                raise AddressClosed(f"{host} leads to {address}, which {why}. Nothing was sent.")
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            results.append(
                ResolveResult(hostname=host, host=address, port=port, family=node.family, proto=0, flags=flags)
            )
        return results

    async def close(self) -> None:
        """Let go of the look-ups under way."""
        await self._dns.close()


class Outgoing:
    """Sends messages. Open while used; `close` it. Raises SettingsError if it cannot be made of these."""

    def __init__(self, settings: Settings) -> None:
        self._rules = url_rules(settings)
        self._timeout_s = settings.webhook_timeout
        # First what can fail: a resolver that nobody closes would stay.
        tls = tls_context(settings)
        self._resolver = _Resolver(self._rules, settings.webhook_nameservers)
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=self._resolver,
            use_dns_cache=False,
            ssl=tls,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=CONNECT_S),
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            max_headers=HEADERS,
        )

    def _socket(self, info: Any) -> socket.socket:
        """Make the socket for an address: the last place before it is connected to, whatever led here."""
        family, kind, proto, _, address = info
        if why := closed(address[0], self._rules.opened):
            raise AddressClosed(f"The address {address[0]} {why}. Nothing was sent.")
        made = socket.socket(family, kind, proto)
        made.setblocking(False)  # noqa: FBT003 - its only argument
        return made

    async def send(self, url: str, message: Message) -> Reply:
        """Post a message and return what came of it. Never raises for what a receiver does."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer: str | None = None
        try:
            # Rules may have become stricter since the URL was stored.
            checked = read_url(url, self._rules)
        except ValueError as error:
            return Reply(Answered(None, f"The URL {error}."), None, 0.0)
        try:
            async with self._session.post(
                checked, data=message.body, headers=message.headers, allow_redirects=False
            ) as response:
                answered = _judged(response)
                answer = await _beginning(response)
        except AddressClosed as error:
            answered = Answered(None, str(error))
        except aiohttp.ConnectionTimeoutError:
            answered = Answered(None, f"No connection could be made within {CONNECT_S:g} s.")
        except TimeoutError:
            answered = Answered(None, f"There was no answer within {self._timeout_s:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            answered = Answered(None, _said(error))
        return Reply(answered, answer, loop.time() - began)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._resolver.close()


def _judged(response: aiohttp.ClientResponse) -> Answered:
    status = response.status
    wait = read_retry_after(response.headers.get("Retry-After"))
    if 200 <= status < 300:
        return Answered(status)
    if 300 <= status < 400:
        return Answered(status, f"The receiver answered {status}: redirects are not followed. Change the URL.", wait)
    return Answered(status, f"The receiver answered {status}.", wait)


async def _beginning(response: aiohttp.ClientResponse) -> str | None:
    """Return the beginning of the body, as text that can be stored and shown; None if there is none."""
    data = bytearray()
    try:
        async with asyncio.timeout(ANSWER_READ_S):
            while len(data) < ANSWER_BYTES and (part := await response.content.read(ANSWER_BYTES - len(data))):
                data += part
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    # What is left of it is not read: the connection goes.
    if not response.content.at_eof():
        response.close()
    text = bytes(data).decode("utf-8", "replace")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) or None


def _said(error: Exception) -> str:  # noqa: PLR0911 - a table
    """Say what went wrong, without what a receiver may have put into it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"The certificate was refused: {error.certificate_error}"[:300]
        case aiohttp.ClientSSLError():
            return "TLS could not be agreed on with the receiver."
        case aiohttp.ClientConnectorDNSError():
            return f"The name {error.host} could not be resolved."
        case aiohttp.ClientConnectorError():
            return f"Nobody could be connected to ({error.os_error.strerror or type(error.os_error).__name__})."
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "The connection broke before there was an answer."
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "What came back is not HTTP, or more of it than is read."
    return f"The request failed ({type(error).__name__})."
