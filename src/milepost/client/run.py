"""A task as its submitter holds it: watch it, wait for its result, cancel it."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from uuid import UUID

from pydantic import TypeAdapter
from pydantic_core import to_json

from milepost.client.events import RunEvent, is_over
from milepost.client.reading import read_json
from milepost.client.rollup import Rollup, rollup
from milepost.client.subscription import Subscription
from milepost.client.waiting import Link
from milepost.errors import Refused, TaskFailed, Unreachable
from milepost.runtime.lifecycle import jittered
from milepost_schemas.frames import TAIL_MAX
from milepost_schemas.task import Task, TaskState

if TYPE_CHECKING:
    from milepost.client.client import Client

T = TypeVar("T")
LINES_S: Final = 10.0
"""Who asked for lines and chunks waits so long for the stream to bring the last of them, though the task is over."""


class Run:
    """One task. Made by `Client.submit` and `Client.run`; usable while that client is open."""

    def __init__(self, client: "Client", id_: UUID, task: Task | None = None) -> None:
        self.id = id_
        self._client = client
        self._known: Task | RunEvent | None = task
        self._members: dict[str, dict[str, Any]] = {}
        self.watch_token: str | None = None
        """For a page to watch this task and its descendants, for 15 minutes. Only of a run that was just submitted."""

    def __repr__(self) -> str:
        return f"<Run {self.id}>" if self._known is None else f"<Run {self.id} {self.task.type} {self.task.state}>"

    @property
    def task(self) -> Task:
        """The task as it was last heard of. Raises ValueError before anything was: `await run.refresh()` first."""
        if self._known is None:
            raise ValueError(f"Nothing is known of task {self.id} yet. Call `await run.refresh()` first.")
        return self._known.task if isinstance(self._known, RunEvent) else self._known

    @property
    def known(self) -> bool:
        """Whether `task` can be read."""
        return self._known is not None

    async def refresh(self) -> Task:
        """Read the task from the API. Raises Refused (404) if there is none, Unreachable."""
        self._known = task = await self._client.get(self.id)
        return task

    async def cancel(self) -> Task:
        """Ask the task to stop; return it as it is now. It is over once its state says so. Raises Refused."""
        self._known = task = await self._client.cancel(self.id)
        return task

    def children(self, *, state: TaskState | str | None = None, limit: int | None = None) -> AsyncIterator[Task]:
        """Yield the task's children, newest first, as `Client.children` does."""
        return self._client.children(self.id, state=state, limit=limit)

    async def retry(self) -> Task:
        """Have the task run again if it failed or was cancelled; return it as it is now. Raises Refused (409)."""
        self._known = task = await self._client.retry(self.id)
        return task

    def rollup(self) -> Rollup:
        """Return how far the task and its descendants have come, as far as `watch(tree=True)` was told of them."""
        views = list(self._members.values())
        if isinstance(self._known, RunEvent):
            views.append(self._known.view)
        elif self._known is not None:
            views.append(self._known.model_dump(mode="json"))
        return rollup(views, str(self.id))

    async def watch(self, *, tail: int = 0, tree: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Yield what happens to the task, from a snapshot to its terminal event.

        With `tree` what happens to its descendants too, those to come included: `event.task.id` says whose an event is,
        and `rollup` how far all have come. While there is no stream only the task itself is asked for.
        With `tail` up to so many of the lines and chunks that were streamed before (at most 256) come ahead of that
        snapshot; those after it always come.
        Comes back and resumes by itself when the connection is lost; asks the API instead while there is no stream.
        Raises Refused if the task may not be watched, Unreachable when neither answered for the client's `patience`.
        """
        if not 0 <= tail <= TAIL_MAX:
            raise ValueError(f"tail={tail}: so many streamed events are not kept; ask for 0 to {TAIL_MAX}")
        stream = await self._client.stream_for(self)
        subscription = stream.subscribe(self.id, tail, tree=tree)
        if self._known is not None:
            subscription.newest = self.task.epoch
        if self._known is not None and self.task.links is not None:
            subscription.fold.links = self.task.links.model_dump(mode="json")
        try:
            async with aclosing(self._events(subscription)) as events:
                async for event in events:
                    if tree and event.view.get("id") != str(self.id):
                        self._members[event.view["id"]] = event.view
                        yield event
                        continue
                    self._known = event
                    yield event
                    if event.last:
                        return
        finally:
            stream.unsubscribe(subscription)

    @overload
    async def result(self, model: None = None, timeout: float | None = None) -> Any: ...
    @overload
    async def result(self, model: type[T], timeout: float | None = None) -> T: ...
    async def result(self, model: Any = None, timeout: float | None = None) -> Any:
        """Wait for the end and return the result, as `model` (anything a TypeAdapter takes) or as plain JSON.

        Raises TaskFailed if the task failed or was cancelled, TimeoutError after `timeout` seconds (the task goes
        on), and what `watch` raises.
        """
        async with asyncio.timeout(timeout):
            if self._known is None or not self.task.state.terminal:
                async with aclosing(self.watch()) as events:
                    async for _ in events:
                        pass
            task = self.task
            if task.state is not TaskState.SUCCEEDED:
                raise TaskFailed(_why(task), task)
            # None: the result is null, or too large to be shown inside the task.
            body = await self._client.result(self.id) if task.result is None else to_json(task.result)
        return read_json(body) if model is None else TypeAdapter(model).validate_json(body)

    async def _events(self, subscription: Subscription) -> AsyncGenerator[RunEvent, None]:
        while True:
            item = await subscription.next()
            if isinstance(item, RunEvent):
                yield item
            elif item is Link.DOWN:
                async with aclosing(self._polled(subscription)) as events:
                    async for event in events:
                        yield event

    async def _polled(self, subscription: Subscription) -> AsyncGenerator[RunEvent, None]:
        """Ask the API, less and less often while nothing changes, until the stream has something to say."""
        loop = asyncio.get_running_loop()
        answered_at = loop.time()
        over_at = math.inf
        quiet = 0
        while not subscription.pending:
            try:
                view = await self._client.view(self.id)
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.status < 500 and error.status != 429:
                    raise
                if loop.time() - answered_at > self._client.patience:
                    raise
            else:
                answered_at = loop.time()
                if subscription.tail and is_over(view):
                    over_at = min(over_at, answered_at)
                    if answered_at - over_at < LINES_S:
                        # The stream has what was said before the end.
                        await subscription.wait(jittered(0, base=1.0))
                        continue
                event = subscription.fold.polled(view)
                quiet = quiet + 1 if event is None else 0
                if event is not None:
                    yield event
                    if event.last:
                        return
            await subscription.wait(jittered(quiet, base=0.5, cap=5.0))


def _why(task: Task) -> str:
    name = f"Task {task.id} ({task.type})"
    if task.state is TaskState.CANCELLED:
        return f"{name} was cancelled."
    reason = f"{task.error.type}: {task.error.message}" if task.error else "no reason was given"
    attempts = "1 attempt" if task.attempt == 1 else f"{task.attempt} attempts"
    return f"{name} failed after {attempts}. {reason}"
