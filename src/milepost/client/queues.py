"""Queues and limits: look at them, pause them, bound them; and why a task does not run."""

from collections.abc import Sequence
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import TypeAdapter

from milepost.client.http import Http
from milepost.client.parsing import parsed, task_uuid
from milepost_schemas.queue import EventList, Explanation, Limit, LimitList, Queue, QueueList, Retention

_QUEUES: Final = TypeAdapter(QueueList)
_LIMIT: Final = TypeAdapter(Limit)
_LIMITS: Final = TypeAdapter(LimitList)
_RETENTION: Final = TypeAdapter(Retention)
_EXPLANATION: Final = TypeAdapter(Explanation)
_EVENTS: Final = TypeAdapter(EventList)

Scope = Literal["queue", "type", "key", "tenant"]


class Queues:
    """Queues of a client's API; made by `Client.queues`. Raises what the client raises.

    `all_tenants`: for the tasks of all tenants, with an admin key of the installation's own; otherwise for one's own.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> Sequence[Queue]:
        """Return the queues there are, by name."""
        return parsed(_QUEUES, await self._http.call("GET", "/v1/queues")).items

    async def pause(self, queue: str, *, all_tenants: bool = False) -> Limit:
        """Let nothing of a queue start any more; what runs goes on. Repeating it changes nothing."""
        return await self._switch(queue, "pause", all_tenants=all_tenants)

    async def resume(self, queue: str, *, all_tenants: bool = False) -> Limit:
        """Let a queue go on."""
        return await self._switch(queue, "resume", all_tenants=all_tenants)

    async def limits(self) -> Sequence[Limit]:
        """Return what one's tasks are held back by: limits and pauses."""
        return parsed(_LIMITS, await self._http.call("GET", "/v1/limits")).items

    async def limit(
        self,
        scope: Scope,
        name: str | None = None,
        *,
        concurrency: int | None = None,
        rate: tuple[int, float] | None = None,
        all_tenants: bool = False,
    ) -> Limit:
        """Set a limit in the place of the one before: so many at once, and `rate` (starts, seconds); None: no bound.

        Without a `name` it is for each key (or tenant) that has none of its own.
        """
        body: dict[str, Any] = {"scope": scope, "name": name, "concurrency": concurrency, "all_tenants": all_tenants}
        body["rate"] = None if rate is None else {"count": rate[0], "per": rate[1]}
        return parsed(_LIMIT, await self._http.call("PUT", "/v1/limits", json=body))

    async def keep(
        self,
        queue: str,
        *,
        finished: float | Literal["forever"] | None = None,
        failed: float | Literal["forever"] | None = None,
    ) -> Retention:
        """Set for how many seconds finished tasks of a queue are kept, of all tenants; older ones are deleted.

        `failed` is for those that failed. None: as the settings say. Takes an admin key of the installation's own
        tenant.
        """
        body = {"finished": finished, "failed": failed}
        path = f"/v1/queues/{quote(queue, safe='')}/retention"
        return parsed(_RETENTION, await self._http.call("PUT", path, json=body))

    async def explain(self, task: UUID | str) -> Explanation:
        """Return why a task is where it is. Raises Refused (404)."""
        return parsed(_EXPLANATION, await self._http.call("GET", f"/v1/tasks/{task_uuid(task)}/explain"))

    async def events(self, task: UUID | str) -> EventList:
        """Return what happened to a task, as far as it is remembered. Raises Refused (404)."""
        return parsed(_EVENTS, await self._http.call("GET", f"/v1/tasks/{task_uuid(task)}/events"))

    async def _switch(self, queue: str, what: str, *, all_tenants: bool) -> Limit:
        params = [("tenants", "all")] if all_tenants else []
        path = f"/v1/queues/{quote(queue, safe='')}/{what}"
        return parsed(_LIMIT, await self._http.call("POST", path, params=params))
