"""What failed for good: look at it, have it tried again."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import uuid_utils.compat as uuids
from pydantic import TypeAdapter

from milepost.client.http import Http
from milepost.client.parsing import parsed, task_uuid
from milepost_schemas.deadletter import (
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    DeadLetterGroups,
    DeadLetterPage,
    Kind,
    Replayed,
)

PAGE: Final = 200

_GROUPS: Final = TypeAdapter(DeadLetterGroups)
_MEMBERS: Final = TypeAdapter(DeadLetterPage)
_DETAIL: Final = TypeAdapter(DeadLetterDetail)
_REPLAYED: Final = TypeAdapter(Replayed)

P = TypeVar("P", DeadLetterGroups, DeadLetterPage)


class DeadLetters:
    """Dead letters of a client's API; made by `Client.dead_letters`. Raises what the client raises."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def groups(self, *, kind: Kind | None = None, type: str | None = None) -> AsyncIterator[DeadLetterGroup]:  # noqa: A002 - the API's own word
        """Yield kinds of failures: those of tasks, then records nobody could read."""
        chosen = {"kind": kind, "type": type}
        async for page in self._pages(_GROUPS, "/v1/dead-letters", chosen):
            for group in page.items:
                yield group

    async def members(self, fingerprint: str, *, kind: Kind = "task") -> AsyncIterator[DeadLetter]:
        """Yield the dead letters of one group, the newest first."""
        async for page in self._pages(_MEMBERS, f"/v1/dead-letters/groups/{fingerprint}", {"kind": kind}):
            for letter in page.items:
                yield letter

    async def get(self, id: UUID | str) -> DeadLetterDetail:  # noqa: A002 - the API's own word
        """Return a failed task with its attempts, or a record with its content. Raises Refused (404)."""
        return parsed(_DETAIL, await self._http.call("GET", f"/v1/dead-letters/{task_uuid(id)}"))

    async def replay(
        self,
        *,
        kind: Kind = "task",
        ids: Iterable[UUID | str] | None = None,
        fingerprint: str | None = None,
        type: str | None = None,  # noqa: A002 - the API's own word
        queue: str | None = None,
        failed_from: datetime | None = None,
        failed_before: datetime | None = None,
        all: bool = False,  # noqa: A002 - the API's own word
        rate: float | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        replay: UUID | str | None = None,
    ) -> Replayed:
        """Have those tried again that match, at most `limit` (1,000) of them, `rate` tasks a second (None: at once).

        Ask again with the same `replay` while the answer says `more`; what fails meanwhile is not part of it. Repeating
        a call after an error is safe: no task is taken twice. Raises Refused when nothing says which.
        """
        body: dict[str, Any] = {"kind": kind, "all": all, "dry_run": dry_run}
        body["replay"] = str(replay or uuids.uuid7())
        if ids is not None:
            body["ids"] = [str(task_uuid(id_)) for id_ in ids]
        instants = {"failed_from": failed_from, "failed_before": failed_before}
        body |= {name: instant.isoformat() for name, instant in instants.items() if instant is not None}
        options = {"fingerprint": fingerprint, "type": type, "queue": queue, "rate": rate, "limit": limit}
        body |= {name: value for name, value in options.items() if value is not None}
        return parsed(_REPLAYED, await self._http.call("POST", "/v1/dead-letters/replay", json=body))

    async def _pages(self, adapter: TypeAdapter[P], path: str, chosen: dict[str, str | None]) -> AsyncIterator[P]:
        given: dict[str, str] = {name: value for name, value in chosen.items() if value is not None}
        params: list[tuple[str, str]] = [*given.items(), ("limit", str(PAGE))]
        cursor: list[tuple[str, str]] = []
        while True:
            page = parsed(adapter, await self._http.call("GET", path, params=[*params, *cursor]))
            yield page
            if page.next is None:
                return
            cursor = [("cursor", page.next)]
