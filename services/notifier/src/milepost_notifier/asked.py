"""What a request over HTTP asks for, and what comes with it. Every oddity is refused, for it would be lost."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from milepost_notifier.refusals import Refusal, bad, unauthenticated
from milepost_schemas.frames import CloseCode
from milepost_schemas.position import POSTGRES_INT_MAX, Position
from milepost_schemas.problem import ProblemType

LAST_EVENT_ID: Final = "Last-Event-ID"
LAST_EVENT_ID_IN_QUERY: Final = "last_event_id"
"""For clients that cannot set the header."""
TICKET: Final = "ticket"
_POSITION: Final = re.compile(r"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,9})")
_KEYS: Final = frozenset({"token", "key", "api_key", "access_token", "authorization"})

Headers = CIMultiDictProxy[str]


def ticket_in(headers: Headers, query: Mapping[str, str]) -> str | None:
    """Return the ticket; None without one. Raises Refusal (400) if a key came too."""
    ticket = query.get(TICKET)
    if ticket is not None and hdrs.AUTHORIZATION in headers:
        raise bad("A ticket and a key: send one of them.")
    return ticket


def token_of(headers: Headers) -> str:
    """Return the bearer token. Raises Refusal (401)."""
    given = headers.getall(hdrs.AUTHORIZATION, [])
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise unauthenticated("Send your key in the header Authorization: Bearer KEY.", given=False)
    if not token.isascii():
        raise _wrong_key()
    return token


def not_let_in(closing: tuple[int, str] | None) -> Exception:
    """Return the refusal of a token, by how the session was closed over it."""
    code = closing[0] if closing is not None else None
    if code == CloseCode.TOKEN_EXPIRED.code:
        return unauthenticated("This watch token has expired. Ask for another one.", given=True)
    if code == CloseCode.FORBIDDEN.code:
        return Refusal(ProblemType.FORBIDDEN, "This key may not read.")
    return _wrong_key()


def _wrong_key() -> Exception:
    return unauthenticated("This key is not valid.", given=True)


def query_of(text: str, known: AbstractSet[str]) -> dict[str, str]:
    """Return the parameters of a query string. Raises Refusal (400) for others than `known` and for any given twice."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=100)
    except ValueError:
        raise bad("The query string is not valid.") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name.lower() in _KEYS:
            raise bad("No key goes into the URL: it ends up in logs. Send it in Authorization.")
        if name not in known:
            raise bad(f"There is no parameter {name[:80]!r} here. There are: {', '.join(sorted(known))}.")
        if name in given:
            raise bad(f"{name} is given more than once.")
        given[name] = value
    return given


def since_of(headers: Headers, query: Mapping[str, str]) -> Position | None:
    """Return the position a client comes back with. Raises Refusal (400) for anything that was never sent.

    The header wins: a browser that reconnects repeats the URL it was given at first.
    """
    texts = headers.getall(LAST_EVENT_ID, [])
    if not texts and LAST_EVENT_ID_IN_QUERY in query:
        texts = [query[LAST_EVENT_ID_IN_QUERY]]
    if not texts:
        return None
    found = _POSITION.fullmatch(texts[0]) if len(texts) == 1 else None
    if found is None or max(int(found[1]), int(found[2])) > POSTGRES_INT_MAX:
        raise bad("Last-Event-ID is none that was sent here. Send the last `id` as it came, or leave it out.")
    return Position(int(found[1]), int(found[2]))
