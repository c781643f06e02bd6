"""A task as a response: its members, where to go from here, and its ETag."""

import hashlib
from typing import Any, Final
from uuid import UUID

import orjson

from milepost.domain.grant import Grant
from milepost.runtime.auth import Authenticator, Principal
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import NoSecret
from milepost.store import task_view
from milepost.store.view import JSON_OPTIONS
from milepost_api.reply import REVALIDATE, Reply, json_reply
from milepost_schemas.watch import TTL_DEFAULT

PREFIX: Final = "/v1/tasks/"
_ETAG_BYTES: Final = 12
_WITH_LINKS: Final = b'%b,"links":{"self":"%b","result":"%b/result","events":%b,"cancel":"%b/cancel","stream":%b}}'


def as_json(document: Any) -> bytes:
    """Return what is shown as JSON: times in UTC as RFC 3339, UUIDs as text."""
    return orjson.dumps(document, option=JSON_OPTIONS)


def with_links(view: bytes, task: str, settings: Settings) -> bytes:
    """Return a task's JSON with `links` added. `task` is its id; the notifier is where `settings` say."""
    path = PREFIX + task
    here, events = path.encode(), orjson.dumps(f"{settings.events_url.rstrip('/')}{path}/events")
    return _WITH_LINKS % (view[:-1], here, here, events, here, orjson.dumps(settings.stream_url))


def row_bytes(row: Any, settings: Settings, *, with_result: bool = True) -> bytes:
    """Return a row as the API shows it."""
    return with_links(as_json(task_view(row, with_result=with_result)), str(row["id"]), settings)


def etag_of(body: bytes) -> str:
    """Return a weak ETag that changes whenever the representation does."""
    return f'W/"{hashlib.blake2b(body, digest_size=_ETAG_BYTES).hexdigest()}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller already has it (RFC 9110, 13.1.2: a list, weakly compared)."""
    if if_none_match is None:
        return False
    opaque = etag.removeprefix("W/")
    given = (part.strip().removeprefix("W/") for part in if_none_match.split(","))
    return if_none_match.strip() == "*" or opaque in given


def conditional(body: bytes, if_none_match: str | None) -> Reply:
    """Return 200 with JSON, or 304 if the caller has it."""
    etag = etag_of(body)
    tag = (b"etag", etag.encode())
    if matches(if_none_match, etag):
        return Reply(304, b"", (tag, REVALIDATE), cache=True)
    return Reply(200, body, ((b"content-type", b"application/json"), tag, REVALIDATE), cache=True)


def with_token(body: bytes, auth: Authenticator, principal: Principal, task: UUID) -> bytes:
    """Return a task's JSON with a token that lets a page watch it; without one where nothing is set to sign it with."""
    try:
        token, _ = auth.token(principal, Grant(task=task), TTL_DEFAULT)
    except NoSecret:
        return body
    return b'%b,"watch_token":"%b"}' % (body[:-1], token.encode())


def accepted(body: bytes, task: str, *more: tuple[bytes, bytes]) -> Reply:
    """Return 202: the task is stored and will be done."""
    return json_reply(body, 202, (b"location", (PREFIX + task).encode()), (b"retry-after", b"1"), *more)
