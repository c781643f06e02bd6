"""`@task`: how a function becomes a task type."""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, TypeAdapter

from milepost.domain.retry import RetryPolicy
from milepost.errors import TaskDefinitionError
from milepost.tasks.context import Context
from milepost_schemas.queues import queue_problem
from milepost_schemas.worker import TypeInfo

P = ParamSpec("P")
R = TypeVar("R")
Isolation = Literal["inline", "process"]
DEFAULT_ATTEMPTS = 3

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task type: its handler and how it is to be run.

    `memory` is bytes, `cpu_s` seconds of processor time of one attempt; None is no limit. `retry` None leaves the waits
    between attempts to the worker's settings.
    """

    type: str
    handler: Callable[..., Any]
    queue: str
    max_attempts: int
    timeout_s: float | None
    isolation: Isolation
    memory: int | None
    payload: TypeAdapter[Any]
    result: TypeAdapter[Any]
    takes_payload: bool = True
    cpu_s: int | None = None
    total_timeout_s: float | None = None
    retry: RetryPolicy | None = None
    asynchronous: bool = field(init=False)
    """Whether the handler is a coroutine function; others run in threads."""

    def __post_init__(self) -> None:
        """Look at the handler once: each attempt asks."""
        object.__setattr__(self, "asynchronous", inspect.iscoroutinefunction(self.handler))

    def arguments(self, context: Context, payload: Any) -> tuple[Any, ...]:
        """Return what the handler is called with."""
        return (context, payload) if self.takes_payload else (context,)

    @property
    def origin(self) -> str:
        """Where the handler is defined, for people."""
        return f"{self.handler.__module__}.{self.handler.__qualname__}"

    def info(self) -> TypeInfo:
        """Return what a worker announces of it."""
        doc = inspect.getdoc(self.handler)
        return TypeInfo(
            type=self.type,
            queue=self.queue,
            max_attempts=self.max_attempts,
            timeout=self.timeout_s,
            total_timeout=self.total_timeout_s,
            isolation=self.isolation,
            description=doc.partition("\n")[0] if doc else None,
            payload_schema=self.payload.json_schema(mode="validation"),
            result_schema=self.result.json_schema(mode="serialization"),
        )


def _bytes(type_: str, text: str | None) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*(KiB|MiB|GiB)", text)
    if match is None:
        raise TaskDefinitionError(f"{type_}: memory={text!r} is not a size; write for example '512MiB'.")
    return int(match[1]) * _UNITS[match[2]]


def _seconds(type_: str, name: str, value: timedelta | float | None) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is not None and not 0 < seconds < math.inf:
        raise TaskDefinitionError(f"{type_}: {name} is {seconds:g} s; it must be more than nothing and have an end.")
    return seconds


def _policy(type_: str, retry: RetryPolicy | Sequence[timedelta | float] | None) -> RetryPolicy | None:
    if retry is None or isinstance(retry, RetryPolicy):
        return retry
    try:
        return RetryPolicy.after(retry)
    except (TypeError, ValueError, OverflowError) as error:
        raise TaskDefinitionError(f"{type_}: retry is a RetryPolicy or a list of seconds; {error}.") from error


def task(
    type_: str,
    *,
    queue: str = "default",
    max_attempts: int | None = None,
    timeout: timedelta | float | None = None,
    total_timeout: timedelta | float | None = None,
    retry: RetryPolicy | Sequence[timedelta | float] | None = None,
    isolation: Isolation = "inline",
    memory: str | None = None,
    cpu: timedelta | float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a task type: `async def handler(ctx: Context, payload: Model) -> Result`.

    The payload parameter and the result are pydantic models (or anything a TypeAdapter takes); a handler without a
    payload parameter takes no payload. Plain functions run in a thread. `timeout` bounds one attempt, `total_timeout`
    all of them and the waits between; seconds or timedeltas. `retry` is a policy or a list of delays; without
    `max_attempts` there are 3, or as many as a list of delays has room for. `isolation="process"` runs each attempt in
    a process of its own, bounded by `memory` ("512MiB") and `cpu` (seconds of processor time, rounded up).
    The function itself stays as it is and can be called in a test. Raises TaskDefinitionError.
    """
    from milepost.tasks.registry import registry

    if callable(type_):
        name = getattr(type_, "__name__", "it")
        raise TaskDefinitionError(f'A task type needs a name: write @task("some.name") above {name}, not @task alone.')
    if not _NAME.match(type_):
        raise TaskDefinitionError(f"{type_!r} cannot name a task: letters, digits, '.', '_' and '-', up to 100.")
    if not _NAME.match(queue):
        raise TaskDefinitionError(f"{queue!r} cannot name a queue: letters, digits, '.', '_' and '-', up to 100.")
    if problem := queue_problem(queue):
        raise TaskDefinitionError(f"{problem}. Give it another name.")
    policy = _policy(type_, retry)
    if max_attempts is None:
        max_attempts = len(policy.delays) + 1 if policy is not None and policy.delays else DEFAULT_ATTEMPTS
    if max_attempts < 1:
        raise TaskDefinitionError(f"{type_}: max_attempts is {max_attempts}; a task runs at least once.")
    memory_bytes = _bytes(type_, memory)
    for name, limit in (("memory", memory_bytes), ("cpu", cpu)):
        if limit is not None and isolation != "process":
            raise TaskDefinitionError(f"{type_}: {name} can only be limited with isolation='process'.")
    cpu_s = _seconds(type_, "cpu", cpu)
    timeout_s = _seconds(type_, "timeout", timeout)
    total_timeout_s = _seconds(type_, "total_timeout", total_timeout)

    def define(handler: Callable[P, R]) -> Callable[P, R]:
        payload, result = _types(type_, handler)
        registry.add(
            TaskDefinition(
                type=type_,
                handler=handler,
                queue=queue,
                max_attempts=max_attempts,
                timeout_s=timeout_s,
                isolation=isolation,
                memory=memory_bytes,
                payload=TypeAdapter(_Nothing if payload is None else payload),
                result=TypeAdapter(result),
                takes_payload=payload is not None,
                cpu_s=None if cpu_s is None else math.ceil(cpu_s),
                total_timeout_s=total_timeout_s,
                retry=policy,
            )
        )
        return handler

    return define


class _Nothing(BaseModel, extra="forbid"):
    """The payload of a handler that takes none."""


def _types(type_: str, handler: Callable[..., Any]) -> tuple[Any, Any]:
    """Return the annotations of payload (None: the handler takes none) and result."""
    parameters = list(inspect.signature(handler).parameters.values())
    hints = get_type_hints(handler, include_extras=True)
    if not parameters or len(parameters) > 2 or hints.get(parameters[0].name, Context) is not Context:
        raise TaskDefinitionError(f"{type_}: a handler takes (ctx: Context) or (ctx: Context, payload: Model).")
    payload: Any = None
    if len(parameters) == 2:
        try:
            payload = hints[parameters[1].name]
        except KeyError:
            raise TaskDefinitionError(
                f"{type_}: give the payload parameter a type, such as a pydantic model."
            ) from None
    return payload, hints.get("return", Any)
