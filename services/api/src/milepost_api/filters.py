"""The query string of a list, as Filters."""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from milepost.store import Filters
from milepost_api.problems import ROWS_SHOWN, Refusal, finding
from milepost_schemas.base import Timestamp
from milepost_schemas.problem import ProblemType
from milepost_schemas.task import TaskState

LIMIT: Final = 200
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
_INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(Timestamp)
_MANY: Final = {"state", "label"}


def read_name(text: str) -> str:
    """Return a name of ours. Raises ValueError."""
    if _NAME.fullmatch(text) is None:
        raise ValueError("should be a name: letters, digits, dot, dash, underscore")
    return text


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("should be the id of a task, a UUID") from None


def _instant(text: str) -> datetime:
    try:
        if "-" in text:
            return _INSTANT.validate_strings(text)
    except (ValidationError, OverflowError):
        pass
    raise ValueError("should be an instant with an offset, as in 2026-01-31T09:30:00Z")


def read_limit(text: str) -> int:
    """Return the size of a page. Raises ValueError."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIMIT:
        raise ValueError(f"should be a number from 1 to {LIMIT}")
    return int(text)


def read_tenant(text: str) -> str:
    """Return the name of a tenant. Raises ValueError."""
    if _TENANT.fullmatch(text) is None:
        raise ValueError("should be a tenant: lower-case letters, digits, dash, underscore")
    return text


def read_true(text: str) -> bool:
    """Return what `true` or `false` says. Raises ValueError."""
    if text not in {"true", "false"}:
        raise ValueError("should be true or false")
    return text == "true"


def _states(texts: list[str]) -> list[str]:
    states = {part.strip() for text in texts for part in text.split(",")}
    if not states <= set(TaskState):
        raise ValueError("should be some of " + ", ".join(TaskState))
    return sorted(states)


def _labels(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or _NAME.fullmatch(name) is None or _TEXT.fullmatch(value) is None:
            raise ValueError("should be NAME=VALUE")
        if labels.setdefault(name, value) != value:
            raise ValueError(f"asks for two values of {name}; no task has both")
    return labels


Readers = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""Parameter of a query → name of what it says, and how it is read (ValueError: how it should be)."""

_READERS: Final[Readers] = {
    "state": ("states", _states),
    "type": ("type", read_name),
    "queue": ("queue", read_name),
    "label": ("labels", _labels),
    "parent": ("parent_id", _uuid),
    "root": ("root_id", _uuid),
    "created_from": ("created_from", _instant),
    "created_before": ("created_before", _instant),
    "limit": ("limit", read_limit),
    "cursor": ("cursor", str),
}


def read_query(query: bytes, readers: Readers, many: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """Return what a query string says, by the names that `readers` gives each parameter.

    Those in `many` may be repeated; their reader gets a list. Raises Refusal, for unknown parameters too.
    """
    rows: list[dict[str, str]] = []
    given: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except (UnicodeDecodeError, ValueError):
        pairs = []
        rows.append(finding((), "the query string is not valid, or has more than 100 parameters"))
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    members: dict[str, Any] = {}
    for name, values in given.items():
        if name not in readers:
            rows.append(finding((name,), "is not a parameter of this list"))
        elif len(values) > 1 and name not in many:
            rows.append(finding((name,), "is given more than once"))
        else:
            member, read = readers[name]
            try:
                members[member] = read(values if name in many else values[0])
            except ValueError as error:
                rows.append(finding((name,), str(error)))
    if rows:
        raise Refusal(ProblemType.INVALID, "These filters cannot be used.", rows[:ROWS_SHOWN])
    return members


_BELOW: Final[Readers] = {name: reader for name, reader in _READERS.items() if name not in {"parent", "root"}}


def read_filters(query: bytes, *, below: bool = False) -> tuple[Filters, str | None]:
    """Return the filters and the cursor of a query string. Raises Refusal, for unknown parameters too.

    `below`: of a list of one task's children, so that nothing else says below which.
    """
    members = read_query(query, _BELOW if below else _READERS, _MANY)
    cursor = members.pop("cursor", None)
    return Filters(**members), cursor
