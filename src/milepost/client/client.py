"""The client of the API and the stream."""

import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar
from uuid import UUID

import orjson
import uuid_utils
from pydantic import BaseModel, TypeAdapter, ValidationError

from milepost.client.address import find_address
from milepost.client.credential import Credential, FetchToken
from milepost.client.dead_letters import DeadLetters
from milepost.client.feed import FeedEvent
from milepost.client.http import Answer, Http, refused
from milepost.client.keys import Keys
from milepost.client.parsing import not_milepost, parsed, task_uuid
from milepost.client.queues import Queues
from milepost.client.requests import Payload, filtered, seconds, submission, watchable
from milepost.client.run import Run
from milepost.client.stream import Stream
from milepost.client.tenants import Tenants
from milepost.client.webhooks import Webhooks
from milepost.errors import ClientError, Refused
from milepost_schemas.deadletter import Attempt, AttemptList
from milepost_schemas.feed import FeedFilter
from milepost_schemas.task import Priority, Task, TaskPage, TaskState
from milepost_schemas.tenant import OwnQuotas
from milepost_schemas.watch import AcceptedTask, Ticket, WatchToken
from milepost_schemas.worker import TypeInfo, WorkerInfo

T = TypeVar("T")

WATCH_PATIENCE_S: Final = 60.0
"""A watch ends with Unreachable when neither the notifier nor the API answered for so long."""
PAGE: Final = 200


class _Items(BaseModel, Generic[T]):
    items: list[T]


_TASK: Final = TypeAdapter(Task)
_ACCEPTED: Final = TypeAdapter(AcceptedTask)
_TOKEN: Final = TypeAdapter(WatchToken)
_TICKET: Final = TypeAdapter(Ticket)
_PAGE: Final = TypeAdapter(TaskPage)
_TYPES: Final = TypeAdapter(_Items[TypeInfo])
_ATTEMPTS: Final = TypeAdapter(AttemptList)
_WORKERS: Final = TypeAdapter(_Items[WorkerInfo])
_QUOTAS: Final = TypeAdapter(OwnQuotas)


class Client:
    """Submit tasks, watch them, read their results. Use as an async context manager, from one event loop.

    `url` and `key` default to MILEPOST_URL and MILEPOST_API_KEY, then to the stack of `milepost dev` in MILEPOST_HOME.
    `connections` bounds those to the API. Every call is bounded in time: it repeats itself for up to 30 s while the
    API is away, then raises Unreachable; what the API will not do raises Refused.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        token: FetchToken | None = None,
        stream_url: str | None = None,
        connections: int = 100,
        repeat_for: float | None = None,
        patience: float = WATCH_PATIENCE_S,
    ) -> None:
        """`key` may be a watch token, to watch what it covers for as long as it lasts.

        `token` gets such tokens: it is awaited before the first use and whenever the one in use runs out; no key is
        needed then. `stream_url`: watch there, whatever a task's links say.

        `repeat_for`: seconds a call repeats itself (None: 30); `patience`: seconds a watch goes on without any
        answer. Raises SettingsError without a key.
        """
        self.patience = patience
        self._stream_url = stream_url
        self._address = find_address(url, key, keyless=token is not None)
        self._credential = Credential(self._address.key, token)
        self._http = Http(self._address, self._credential, connections=connections, repeat_for=repeat_for)
        self._streams: dict[str, Stream] = {}

    @property
    def url(self) -> str:
        """The API's address."""
        return self._address.url

    async def __aenter__(self) -> Self:
        await self._http.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Tasks go on."""
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            await stream.close()
        await self._http.close()

    async def submit(
        self,
        type: str,  # noqa: A002 - the API's own word
        payload: Payload | None = None,
        *,
        queue: str | None = None,
        priority: Priority | str | None = None,
        run_at: datetime | None = None,
        delay: timedelta | float | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | float | None = None,
        total_timeout: timedelta | float | None = None,
        expires_in: timedelta | float | None = None,
        key: str | None = None,
        labels: Mapping[str, str] | None = None,
        parent_id: UUID | str | None = None,
        idempotency_key: str | None = None,
        wait: timedelta | float | None = None,
    ) -> Run:
        """Submit a task; once this returns, it is stored and will run. Durations are seconds or timedeltas.

        With `wait` it returns when the task is over, or after so long (whole seconds, a minute at most): one request
        brings the result of a short task.
        Without an `idempotency_key` one is made for this call, so that its repeats cannot make two tasks. The same
        key again gives the same task. Raises Refused, or Unreachable: then repeat it with the same key.
        """
        body = submission(
            type=type,
            payload=payload,
            queue=queue,
            priority=priority,
            run_at=run_at,
            delay=delay,
            max_attempts=max_attempts,
            timeout=timeout,
            total_timeout=total_timeout,
            expires_in=expires_in,
            key=key,
            labels=labels,
            parent_id=parent_id,
        )
        headers = {"Idempotency-Key": idempotency_key or str(uuid_utils.uuid7())}
        longest = 0 if wait is None else math.ceil(seconds(wait))
        if longest:
            headers["Prefer"] = f"wait={longest}"
        answer = await self._http.call("POST", "/v1/tasks", json=body, headers=headers, longer=longest)
        task = parsed(_ACCEPTED, answer)
        run = Run(self, task.id, task)
        run.watch_token = task.watch_token
        return run

    async def submit_batch(self, tasks: Iterable[Mapping[str, Any]]) -> list[Run | Refused]:
        """Submit up to 1,000 tasks in one request; each is a mapping of `submit`'s arguments.

        Returns a Run or the refusal for each, in order. Raises Refused if the batch as a whole is refused, Unreachable.
        """
        items = []
        for task in tasks:
            arguments = dict(task)
            idempotency_key = arguments.pop("idempotency_key", None) or str(uuid_utils.uuid7())
            items.append({**submission(**arguments), "idempotency_key": idempotency_key})
        answer = await self._http.call("POST", "/v1/tasks/batch", json={"tasks": items})
        try:
            results = answer.json()["results"]
            return [self._taken(result) for result in results]
        except (KeyError, TypeError, ValidationError) as error:
            raise not_milepost(error) from error

    def run(self, id: UUID | str) -> Run:  # noqa: A002 - the API's own word
        """Return the run of a task that exists already. Asks nobody."""
        return Run(self, task_uuid(id))

    async def get(self, id: UUID | str) -> Task:  # noqa: A002 - the API's own word
        """Return a task. Raises Refused (404) if there is none."""
        return _task(await self._http.call("GET", f"/v1/tasks/{task_uuid(id)}"))

    async def list(
        self,
        *,
        state: TaskState | str | None = None,
        type: str | None = None,  # noqa: A002 - the API's own word
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        parent_id: UUID | str | None = None,
        root_id: UUID | str | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Task]:
        """Yield tasks, newest first, page by page; `limit` of them at most.

        `root_id`: that task, if it has no parent, and all below it.
        """
        params = filtered(
            {
                "state": state,
                "type": type,
                "queue": queue,
                "parent": parent_id,
                "root": root_id,
                "created_from": created_from,
                "created_before": created_before,
            },
            labels or {},
        )
        async for task in self._tasks("/v1/tasks", params, limit):
            yield task

    async def children(
        self,
        id: UUID | str,  # noqa: A002 - the API's own word
        *,
        state: TaskState | str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Task]:
        """Yield the children of a task, newest first; `limit` of them at most. Raises NotFound for an unknown task."""
        params = [] if state is None else [("state", str(state))]
        async for task in self._tasks(f"/v1/tasks/{task_uuid(id)}/children", params, limit):
            yield task

    async def _tasks(self, path: str, params: Sequence[tuple[str, str]], limit: int | None) -> AsyncIterator[Task]:
        left, cursor = limit, None
        while left is None or left > 0:
            page_params = [*params, ("limit", str(min(PAGE, left or PAGE)))]
            if cursor is not None:
                page_params.append(("cursor", cursor))
            answer = await self._http.call("GET", path, params=page_params)
            page = parsed(_PAGE, answer)
            for task in page.items:
                yield task
            left = None if left is None else left - len(page.items)
            cursor = page.next
            if cursor is None:
                return

    async def cancel(self, id: UUID | str) -> Task:  # noqa: A002 - the API's own word
        """Ask a task to stop; return it as it is now. Raises Refused (409) if it is over already."""
        return _task(await self._http.call("POST", f"/v1/tasks/{task_uuid(id)}/cancel"))

    async def retry(self, id: UUID | str) -> Task:  # noqa: A002 - the API's own word
        """Have a failed or cancelled task run again, its attempts counted anew; return it as it is now.

        Raises Refused (409) if it is not over, or succeeded.
        """
        return _task(await self._http.call("POST", f"/v1/tasks/{task_uuid(id)}/retry"))

    async def attempts(self, id: UUID | str) -> Sequence[Attempt]:  # noqa: A002 - the API's own word
        """Return the runs a task had, the newest first. Raises Refused (404) if there is no such task."""
        return parsed(_ATTEMPTS, await self._http.call("GET", f"/v1/tasks/{task_uuid(id)}/attempts")).items

    async def watch_token(
        self,
        *,
        task: UUID | str | None = None,
        label: tuple[str, str] | None = None,
        feed: bool = False,
        filter: FeedFilter | None = None,  # noqa: A002 - the API's own word
        ttl: timedelta | float | None = None,
    ) -> str:
        """Return a token for a page: to watch a task and its descendants, or tasks with a label, or the feed.

        Name one of them; of the feed, `filter` says which tasks it is to be of. `ttl`: how long it lasts, 15 minutes
        unless given, an hour at most. Raises Refused.
        """
        asked = watchable(task, label, filter, ttl, feed=feed)
        return parsed(_TOKEN, await self._http.call("POST", "/v1/watch-tokens", json=asked)).token

    async def ticket(
        self,
        *,
        task: UUID | str | None = None,
        label: tuple[str, str] | None = None,
        feed: bool = False,
        filter: FeedFilter | None = None,  # noqa: A002 - the API's own word
        ttl: timedelta | float | None = None,
    ) -> str:
        """Return what lets somebody into a stream once, as `?ticket=` in its URL, within 30 seconds.

        Name what may be watched, as for `watch_token`, or nothing: all that this client may. `ttl`: how long what it
        opens may stay open. Raises Refused.
        """
        asked = watchable(task, label, filter, ttl, feed=feed)
        return parsed(_TICKET, await self._http.call("POST", "/v1/tickets", json=asked)).ticket

    @property
    def dead_letters(self) -> DeadLetters:
        """What failed for good."""
        return DeadLetters(self._http)

    @property
    def keys(self) -> Keys:
        """API keys, for who has one with the scope admin."""
        return Keys(self._http)

    @property
    def tenants(self) -> Tenants:
        """Tenants and their quotas, for who looks after the installation."""
        return Tenants(self._http)

    @property
    def webhooks(self) -> Webhooks:
        """Whom the tenant has told over HTTP that tasks end."""
        return Webhooks(self._http)

    @property
    def queues(self) -> Queues:
        """Queues, what holds them back, and why a task does not run."""
        return Queues(self._http)

    async def feed(self, filter: FeedFilter | None = None) -> AsyncIterator[FeedEvent]:  # noqa: A002 - the API's own word
        """Yield every change of all tasks of the tenant, or of those that `filter` is for; without end.

        The first has the kind "live": read the list then, and apply what follows. It comes again with `reset` when
        changes were missed. Comes back by itself after whatever broke. Raises Refused (this key or token may not listen
        to that), ClientError.
        """
        stream = self._stream(self._stream_url or self._address.stream_url)
        subscription = stream.listen(filter)
        try:
            while True:
                item = await subscription.next()
                if isinstance(item, FeedEvent):
                    yield item
        finally:
            stream.unsubscribe(subscription)

    async def types(self) -> Sequence[TypeInfo]:
        """Return the task types that workers have announced."""
        return parsed(_TYPES, await self._http.call("GET", "/v1/types")).items

    async def workers(self) -> Sequence[WorkerInfo]:
        """Return the live workers."""
        return parsed(_WORKERS, await self._http.call("GET", "/v1/workers")).items

    async def quotas(self) -> OwnQuotas:
        """Return what the tenant may take, and what of it is taken: None where it has no quota, or nobody knows now."""
        return parsed(_QUOTAS, await self._http.call("GET", "/v1/quotas"))

    # -- for Run

    async def view(self, id_: UUID) -> dict[str, Any]:
        """Return a task as plain JSON. Asks once: its caller asks again."""
        answer = await self._http.call("GET", f"/v1/tasks/{id_}", repeat_for=0.0)
        view = answer.json()
        if not isinstance(view, dict) or not isinstance(view.get("epoch"), int):
            raise not_milepost(TypeError("no epoch"))
        return view

    async def result(self, id_: UUID) -> bytes:
        """Return the JSON of a result of any size."""
        return (await self._http.call("GET", f"/v1/tasks/{id_}/result")).body

    async def stream_for(self, run: Run) -> Stream:
        """Return the stream that shows a task; watches of one address share it."""
        links = run.task.links if run.known else None
        url = self._stream_url or (links.stream if links is not None else self._address.stream_url)
        if url is None:
            links = (await run.refresh()).links
            url = links.stream if links is not None else None
        return self._stream(url)

    def _stream(self, url: str | None) -> Stream:
        if url is None:
            raise ClientError(f"{self.url} does not say where its stream is. Set MILEPOST_STREAM_URL.")
        if url not in self._streams:
            self._streams[url] = Stream(lambda: self._http.sockets, url, self._credential)
        return self._streams[url]

    def _taken(self, result: dict[str, Any]) -> Run | Refused:
        if "problem" in result:
            return refused(Answer(result["status"], {}, orjson.dumps(result["problem"])))
        task = Task.model_validate(result["task"])
        return Run(self, task.id, task)


def _task(answer: Answer) -> Task:
    return parsed(_TASK, answer)
