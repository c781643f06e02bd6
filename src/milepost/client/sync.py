"""The client for programs without an event loop: the same words, without `await`.

with SyncClient() as client:
    run = client.submit("demo.count", {"to": 10})
    for event in run.watch():
        print(event.kind, event.task.progress)
    print(run.result())
"""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from milepost.client.client import WATCH_PATIENCE_S, Client
from milepost.client.credential import FetchToken
from milepost.client.dead_letters import DeadLetters
from milepost.client.keys import Keys
from milepost.client.portal import Portal
from milepost.client.queues import Queues
from milepost.client.rollup import Rollup
from milepost.client.run import Run
from milepost.client.tenants import Tenants
from milepost.client.webhooks import Webhooks
from milepost.errors import Refused
from milepost_schemas.task import Task

FetchAnyhow = Callable[[], str | Awaitable[str]]
"""Gets a token; a plain function, which may wait, or an async one."""

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Facade")


class Facade:
    """Something of the client, and the thread it lives in."""

    def __init__(self, of: Any, portal: Portal) -> None:
        self._of = of
        self._portal = portal


def waited(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Facade, P], T]:
    """Return a method that waits for what an async one returns."""

    @functools.wraps(method)
    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._portal.wait(method(self._of, *args, **kwargs))

    return call


def each(method: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> Callable[Concatenate[Facade, P], Iterator[T]]:
    """Return a method that yields what an async one yields."""

    @functools.wraps(method)
    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._portal.each(method(self._of, *args, **kwargs))

    return call


def _as_run(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Run]],
) -> Callable[Concatenate[Facade, P], "SyncRun"]:
    @functools.wraps(method)
    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> SyncRun:
        return SyncRun(self._portal.wait(method(self._of, *args, **kwargs)), self._portal)

    return call


def _awaited(token: FetchAnyhow) -> FetchToken:
    async def fetch() -> str:
        # Not on the loop's thread: all connections would wait with it.
        got = token() if inspect.iscoroutinefunction(token) else await asyncio.to_thread(token)
        return got if isinstance(got, str) else await got

    return fetch


class SyncRun(Facade):
    """A `Run`, whose methods wait. Made by `SyncClient.submit` and `SyncClient.run`."""

    _of: Run

    def __repr__(self) -> str:
        return repr(self._of).replace("<Run", "<SyncRun", 1)

    @property
    def id(self) -> UUID:
        """The task's id."""
        return self._of.id

    @property
    def task(self) -> Task:
        """The task as it was last heard of. Raises ValueError before anything was: `run.refresh()` first."""
        return self._of.task

    @property
    def known(self) -> bool:
        """Whether `task` can be read."""
        return self._of.known

    @property
    def watch_token(self) -> str | None:
        """For a page to watch this task and its descendants, for 15 minutes. Only of a run that was just submitted."""
        return self._of.watch_token

    refresh = waited(Run.refresh)
    cancel = waited(Run.cancel)
    retry = waited(Run.retry)
    children = each(Run.children)
    watch = each(Run.watch)

    def rollup(self) -> Rollup:
        """Return how far the task and its descendants have come, as far as `watch(tree=True)` was told of them."""
        return self._of.rollup()

    @overload
    def result(self, model: None = None, timeout: float | None = None) -> Any: ...
    @overload
    def result(self, model: type[T], timeout: float | None = None) -> T: ...
    def result(self, model: Any = None, timeout: float | None = None) -> Any:
        """Wait for the end and return the result, as `Run.result` does."""
        return self._portal.wait(self._of.result(model, timeout))


class SyncDeadLetters(Facade):
    """`DeadLetters`, whose methods wait."""

    groups = each(DeadLetters.groups)
    members = each(DeadLetters.members)
    get = waited(DeadLetters.get)
    replay = waited(DeadLetters.replay)


class SyncKeys(Facade):
    """`Keys`, whose methods wait."""

    create = waited(Keys.create)
    list = each(Keys.list)
    revoke = waited(Keys.revoke)


class SyncTenants(Facade):
    """`Tenants`, whose methods wait."""

    list = each(Tenants.list)
    set = waited(Tenants.set)


class SyncWebhooks(Facade):
    """`Webhooks`, whose methods wait."""

    create = waited(Webhooks.create)
    list = waited(Webhooks.list)
    get = waited(Webhooks.get)
    change = waited(Webhooks.change)
    delete = waited(Webhooks.delete)
    rotate_secret = waited(Webhooks.rotate_secret)
    ping = waited(Webhooks.ping)
    deliveries = each(Webhooks.deliveries)
    delivery = waited(Webhooks.delivery)
    replay = waited(Webhooks.replay)


class SyncQueues(Facade):
    """`Queues`, whose methods wait."""

    list = waited(Queues.list)
    pause = waited(Queues.pause)
    resume = waited(Queues.resume)
    limits = waited(Queues.limits)
    limit = waited(Queues.limit)
    keep = waited(Queues.keep)
    explain = waited(Queues.explain)
    events = waited(Queues.events)


class SyncClient(Facade):
    """A `Client` whose methods wait. Use as a context manager, from as many threads as you like.

    It has a thread of its own, with the event loop that its connections need. That begins when the client is entered:
    after a fork, not before. Takes the arguments of `Client`, and raises what that raises; `token` may
    also be a plain function, which is called on a thread of its own.
    """

    _of: Client

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        token: FetchAnyhow | None = None,
        stream_url: str | None = None,
        connections: int = 100,
        repeat_for: float | None = None,
        patience: float = WATCH_PATIENCE_S,
    ) -> None:
        client = Client(
            url,
            key,
            token=None if token is None else _awaited(token),
            stream_url=stream_url,
            connections=connections,
            repeat_for=repeat_for,
            patience=patience,
        )
        super().__init__(client, Portal("milepost client"))

    @property
    def url(self) -> str:
        """The API's address."""
        return self._of.url

    def __enter__(self) -> Self:
        self._portal.open()
        try:
            self._portal.wait(self._of.__aenter__())
        except BaseException:
            self._portal.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread. Tasks go on."""
        if self._portal.running:
            try:
                self._portal.wait(self._of.close())
            finally:
                self._portal.close()

    submit = _as_run(Client.submit)

    def submit_batch(self, tasks: Iterable[Mapping[str, Any]]) -> list[SyncRun | Refused]:
        """Submit up to 1,000 tasks in one request, as `Client.submit_batch` does."""
        taken = self._portal.wait(self._of.submit_batch(tasks))
        return [SyncRun(one, self._portal) if isinstance(one, Run) else one for one in taken]

    def run(self, id: UUID | str) -> SyncRun:  # noqa: A002 - the API's own word
        """Return the run of a task that exists already. Asks nobody."""
        return SyncRun(self._of.run(id), self._portal)

    get = waited(Client.get)
    list = each(Client.list)
    children = each(Client.children)
    cancel = waited(Client.cancel)
    retry = waited(Client.retry)
    attempts = waited(Client.attempts)
    feed = each(Client.feed)
    watch_token = waited(Client.watch_token)
    ticket = waited(Client.ticket)
    types = waited(Client.types)
    workers = waited(Client.workers)
    quotas = waited(Client.quotas)

    @property
    def dead_letters(self) -> SyncDeadLetters:
        """What failed for good."""
        return SyncDeadLetters(self._of.dead_letters, self._portal)

    @property
    def queues(self) -> SyncQueues:
        """Queues, what holds them back, and why a task does not run."""
        return SyncQueues(self._of.queues, self._portal)

    @property
    def keys(self) -> SyncKeys:
        """API keys, for who has one with the scope admin."""
        return SyncKeys(self._of.keys, self._portal)

    @property
    def tenants(self) -> SyncTenants:
        """Tenants and their quotas, for who looks after the installation."""
        return SyncTenants(self._of.tenants, self._portal)

    @property
    def webhooks(self) -> SyncWebhooks:
        """Whom the tenant has told over HTTP that tasks end."""
        return SyncWebhooks(self._of.webhooks, self._portal)
