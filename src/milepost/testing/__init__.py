"""Running a task in a plain unit test, without any server."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from pydantic import TypeAdapter

from milepost.domain.whole import check_exact
from milepost.errors import TaskDefinitionError
from milepost.tasks.context import Context
from milepost.tasks.loglines import HandlerLog, LogLine
from milepost.tasks.registry import registry
from milepost_schemas import Progress


@dataclass
class Ran:
    """What a handler did and said: its `result` is as a submitter would read it (plain JSON values)."""

    result: Any = None
    progress: list[Progress] = field(default_factory=list)
    log: list[LogLine] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)
    """By channel, all that was emitted there."""


async def run_task(
    handler: Callable[..., Any],
    payload: Any = None,
    *,
    attempt: int = 1,
    max_attempts: int = 3,
    id: UUID | None = None,  # noqa: A002
) -> Ran:
    """Run a handler once as a worker would: the payload is checked, the result goes through JSON.

    `payload` is what a submitter would send (JSON values) or an instance of the handler's model. Every call of
    `ctx.progress`, `ctx.log` and `ctx.emit` is kept. Plain functions run in a thread. What the handler raises is raised
    here; so is pydantic's ValidationError for a payload or result that does not fit. Raises TaskDefinitionError for
    what is no task.
    """
    definition = next((each for each in registry if each.handler is handler), None)
    if definition is None:
        raise TaskDefinitionError(f"{handler!r} is not a task: it has no @task.")
    ran = Ran()
    ticks = iter(range(10**9))

    def emit(channel: str, chunk: str, /) -> None:
        ran.output[channel] = ran.output.get(channel, "") + chunk

    context = Context(
        id=id or uuid_utils.uuid7(),
        type=definition.type,
        queue=definition.queue,
        tenant="test",
        attempt=attempt,
        max_attempts=max_attempts,
        _sink=lambda done, total, unit, message: ran.progress.append(
            Progress(done=done, total=total, unit=unit, message=message)
        ),
        _log=HandlerLog(ran.log.append, lambda: float(next(ticks))),
        _output=emit,
        # Every call is a second later than the last: nothing is held back.
        _clock=lambda: float(next(ticks)),
    )
    sent = TypeAdapter(Any).dump_json({} if payload is None else payload)
    arguments = definition.arguments(context, definition.payload.validate_json(sent))
    if inspect.iscoroutinefunction(handler):
        value = await handler(*arguments)
    else:
        value = await asyncio.to_thread(handler, *arguments)
    result = definition.result.dump_json(value)
    check_exact(result)
    ran.result = orjson.loads(result)
    return ran
