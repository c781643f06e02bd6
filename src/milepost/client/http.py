"""Requests to the API: one session, bounded waits, repeats that cannot double anything."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from opentelemetry import trace

from milepost.client.address import Address
from milepost.client.credential import Credential
from milepost.client.reading import read_json
from milepost.errors import ClientError, Finding, IdempotencyKeyInFlight, Refused, Unreachable
from milepost.runtime.lifecycle import jittered

log = logging.getLogger("milepost.client.http")

REPEAT_S: Final = 30.0
"""Repeats of one call end after this."""
TELL_S: Final = 1.0
"""A first wait that is longer is logged, and so is every second one, once for each call."""
_CONNECT_S: Final = 3.0
_ANSWER_S: Final = 10.0
_EXPIRED: Final = 401
_AGAIN: Final = frozenset({429, 502, 503, 504})


class Answer(NamedTuple):
    """A response below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body. Raises Unreachable if it is not JSON: then it was not Milepost that answered."""
        try:
            return read_json(self.body)
        except ValueError:
            raise Unreachable(
                f"What answered with status {self.status} did not send JSON, so it is not Milepost's API. "
                "Check MILEPOST_URL, and proxies on the way."
            ) from None


class Http:
    """The API over HTTP. Open while it is used as an async context manager."""

    def __init__(
        self, address: Address, credential: Credential, *, connections: int, repeat_for: float | None = None
    ) -> None:
        self.address = address
        self._credential = credential
        self._repeat_for = REPEAT_S if repeat_for is None else repeat_for
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._sockets: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session. No connection is made yet."""
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=_connector(self._connections),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S),
            headers={"User-Agent": "milepost-python"},
        )

    async def close(self) -> None:
        """Close all connections."""
        sessions = (self._session, self._sockets)
        self._session = self._sockets = None
        for session in sessions:
            if session is not None:
                await session.close()

    @property
    def sockets(self) -> aiohttp.ClientSession:
        """The session for WebSockets, which hold their connections and so must not use up those for requests."""
        self._opened()
        if self._sockets is None:
            self._sockets = aiohttp.ClientSession(
                connector=_connector(0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            )
        return self._sockets

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        repeat_for: float | None = None,
        longer: float = 0.0,
    ) -> Answer:
        """Make a request; repeat it for up to `repeat_for` seconds while the API cannot be reached or is not ready.

        Each answer may take ten seconds, and `longer`.
        Only for calls that may be made twice. Raises Refused, or Unreachable if there was no answer at all.
        """
        session = self._opened()
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._repeat_for if repeat_for is None else repeat_for)
        sent = dict(headers or {})
        if (traceparent := current_traceparent()) is not None:
            sent["traceparent"] = traceparent
        # None: that of the session.
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S + longer, sock_connect=_CONNECT_S) if longer else None
        body = None
        if json is not None:
            body = orjson.dumps(json)
            sent["Content-Type"] = "application/json"
        attempt = 0
        told = False
        while True:
            wait = jittered(attempt, base=0.2, cap=3.0)
            failure: ClientError
            try:
                answer = await self._ask(session, method, path, sent, data=body, params=params, timeout=timeout)
                if answer.status < 400:
                    return answer
                failure = refused(answer)
                if not _worth_repeating(failure):
                    raise failure
                wait = max(wait, _retry_after(answer.headers))
            except Unreachable as error:  # no token
                failure = error
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
                what = str(error) or type(error).__name__
                failure = Unreachable(
                    f"{self.address.url} does not answer ({what}). Is the API running"
                    f"{' (`milepost dev` starts one)' if self.address.local else ''}, and is MILEPOST_URL right?"
                )
            except aiohttp.ClientError as error:
                failure = Unreachable(f"{self.address.url} does not speak HTTP as an API does ({error}).")
            if loop.time() + wait >= end:
                raise failure
            told = told or _tell(failure, attempt, wait, end - loop.time())
            await asyncio.sleep(wait)
            attempt += 1

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, path: str, headers: Mapping[str, str], **options: Any
    ) -> Answer:
        """Ask once; and once more with another token if the one in use is not good any more."""
        url = self.address.url + path
        token = await self._credential.get()
        for last in (not self._credential.renewable, True):
            sent = {**headers, "Authorization": f"Bearer {token}"}
            async with session.request(method, url, headers=sent, **options) as response:
                answer = Answer(response.status, response.headers, await response.read())
            if last or answer.status != _EXPIRED:
                break
            token = await self._credential.instead_of(token)
        return answer

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ClientError("The client is not open. Write `async with Client() as client:`.")
        return self._session


def _connector(limit: int) -> aiohttp.TCPConnector:
    """Return what makes connections, `limit` at most (0: any number).

    Names are looked up as the system does it, hosts file and all; aiohttp would ask DNS itself where it finds aiodns.
    """
    return aiohttp.TCPConnector(limit=limit, resolver=aiohttp.ThreadedResolver())


def refused(answer: Answer) -> Refused:
    """Return what an answer of 400 or more says, as an exception; the findings of invalid input are in its text."""
    try:
        problem = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict):
        text = answer.body[:200].decode(errors="replace").strip()
        return Refused(
            answer.status,
            "about:blank",
            f"HTTP {answer.status}: {text or 'no explanation'}\nThis is no answer of the API. Check MILEPOST_URL.",
        )
    type_ = str(problem.get("type", "about:blank"))
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status}")
    rows = problem.get("errors")
    findings = [
        Finding(str(row.get("path") or ""), str(row.get("message")))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]
    return Refused.of(type_)(
        answer.status,
        type_,
        detail,
        problem.get("trace_id"),
        findings=findings,
        retry_after=_retry_after(answer.headers) or None,
    )


def current_traceparent() -> str | None:
    """Return the W3C traceparent of the caller's OpenTelemetry span; None outside of one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _worth_repeating(failure: Refused) -> bool:
    # Our own first try may still be at work under the same idempotency key.
    return failure.status in _AGAIN or isinstance(failure, IdempotencyKeyInFlight)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _tell(failure: ClientError, attempt: int, wait: float, left: float) -> bool:
    """Log why a caller waits, unless it may be over at once; return whether that was done."""
    if attempt == 0 and wait <= TELL_S:
        return False
    log.info("%s Trying again for up to %.0f s.", failure, left)
    return True
