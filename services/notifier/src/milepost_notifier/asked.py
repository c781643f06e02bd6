"""What a request over HTTP asks for, and what comes with it. Every oddity is refused, for it would be lost."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from aiohttp import hdrs
from multidict import CIMultiDictProxy
from pydantic import ValidationError

from milepost_notifier.refusals import Refusal, bad, unauthenticated
from milepost_notifier.sse import LIVE_ID
from milepost_schemas.feed import FeedFilter
from milepost_schemas.frames import TAIL_MAX, CloseCode
from milepost_schemas.position import POSTGRES_INT_MAX, Position
from milepost_schemas.problem import ProblemType

LAST_EVENT_ID: Final = "Last-Event-ID"
LAST_EVENT_ID_IN_QUERY: Final = "last_event_id"
"""For clients that cannot set the header."""
TICKET: Final = "ticket"
_POSITION: Final = re.compile(r"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,9})")
_KEYS: Final = frozenset({"token", "key", "api_key", "access_token", "authorization"})

FILTER: Final = frozenset({"type", "queue", "parent", "root"})
LABEL: Final = "label"

Headers = CIMultiDictProxy[str]
Query = Mapping[str, list[str]]


def ticket_in(headers: Headers, query: Query) -> str | None:
    """Return the ticket; None without one. Raises Refusal (400) if a key came too."""
    [ticket] = query.get(TICKET, [None])
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
        return Refusal(ProblemType.FORBIDDEN, "This key may not read: it lacks the scope read.")
    # The reason may say more after a colon.
    why = closing[1].partition(": ")[2] if code == CloseCode.BAD_TOKEN.code and closing is not None else ""
    return unauthenticated(why, given=True) if why else _wrong_key()


def _wrong_key() -> Exception:
    return unauthenticated("This key is not valid.", given=True)


def query_of(text: str, known: AbstractSet[str], many: AbstractSet[str] = frozenset()) -> dict[str, list[str]]:
    """Return the parameters of a query string.

    Raises Refusal (400) for others than `known`, and for any given twice that is not in `many`.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=100)
    except ValueError:
        raise bad("The query string is not valid.") from None
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name.lower() in _KEYS:
            raise bad("No key goes into the URL: it ends up in logs. Send it in Authorization.")
        if name not in known:
            raise bad(f"There is no parameter {name[:80]!r} here. There are: {', '.join(sorted(known))}.")
        if name in given and name not in many:
            raise bad(f"{name} is given more than once.")
        given.setdefault(name, []).append(value)
    return given


def last_id_of(headers: Headers, query: Query) -> str | None:
    """Return the id a client comes back with. Raises Refusal (400) for several.

    The header wins: a browser that reconnects repeats the URL it was given at first.
    """
    texts = headers.getall(LAST_EVENT_ID, []) or query.get(LAST_EVENT_ID_IN_QUERY, [])
    if len(texts) > 1:
        raise _no_id()
    return texts[0] if texts else None


def since_of(last_id: str | None) -> Position | None:
    """Return the position in an id. Raises Refusal (400) for anything that was never sent."""
    if last_id is None:
        return None
    found = _POSITION.fullmatch(last_id)
    if found is None or max(int(found[1]), int(found[2])) > POSTGRES_INT_MAX:
        raise _no_id()
    return Position(int(found[1]), int(found[2]))


def been_live(last_id: str | None) -> bool:
    """Return whether a client comes back to a feed. Raises Refusal (400) for anything that was never sent."""
    if last_id not in {None, LIVE_ID}:
        raise _no_id()
    return last_id is not None


def tree_of(query: Query) -> bool:
    """Return whether descendants are wanted too. Raises Refusal (400)."""
    [text] = query.get("tree", ["false"])
    if text not in {"true", "false"}:
        raise bad("tree is true or false.")
    return text == "true"


def tail_of(query: Query) -> int:
    """Return how many of the last streamed events are wanted. Raises Refusal (400)."""
    [text] = query.get("tail", ["0"])
    if re.fullmatch("[0-9]{1,3}", text) is None or int(text) > TAIL_MAX:
        raise bad(f"tail is a number from 0 to {TAIL_MAX}.")
    return int(text)


def filter_of(query: Query) -> dict[str, Any]:
    """Return the filter of a feed as a client of a WebSocket says it. Raises Refusal (400)."""
    said: dict[str, Any] = {name: query[name][0] for name in FILTER if name in query}
    labels: dict[str, str] = {}
    for text in query.get(LABEL, ()):
        name, equals, value = text.partition("=")
        if not equals or labels.setdefault(name, value) != value:
            raise bad("A label is NAME=VALUE, each name once.")
    if labels:
        said["labels"] = labels
    try:
        FeedFilter.model_validate_json(orjson.dumps(said))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise bad(f"{'.'.join(str(part) for part in first['loc'])[:80]}: {first['msg']}.") from None
    return said


def _no_id() -> Refusal:
    return bad("Last-Event-ID is none that was sent here. Send the last `id` as it came, or leave it out.")
