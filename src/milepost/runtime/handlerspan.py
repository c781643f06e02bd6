"""The context a handler runs in: the span of its attempt, and baggage that names the task and the tenant."""

from collections.abc import Mapping
from time import time_ns
from typing import Any, Final

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from milepost.runtime import otlp
from milepost.runtime.tracing import context_of

TASK: Final = "milepost.task.id"
TENANT: Final = "milepost.tenant"


(_BAGGAGE_KEY,) = baggage.set_baggage(TASK, "", Context())
(_SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())


def handlers_context(span: Span, task: str, tenant: str) -> Context:
    """Return a handler's context: the same that `set_baggage` and `set_span_in_context` make in three steps."""
    return Context({_BAGGAGE_KEY: {TENANT: tenant, TASK: task}, _SPAN_KEY: span})


class AttemptSpan(Span):
    """The span of an attempt as its handler gets it from `trace.get_current_span()`; what is added is recorded too."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent
        self._context: SpanContext | None = None
        self._attributes: dict[str, Any] = {}
        self._more: list[bytes] = []
        self._status = b""

    def get_span_context(self) -> SpanContext:
        """Return its ids; made when first asked for, as most handlers make no spans."""
        if self._context is None:
            self._context = context_of(self._traceparent)
        return self._context

    def is_recording(self) -> bool:
        """It is."""
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        """Add an attribute."""
        self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add some."""
        self._attributes.update(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Add something that happened."""
        self._more.append(otlp.event(name, timestamp or time_ns(), attributes or {}))

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Add a link; its attributes are left out."""
        self._more.append(otlp.link(context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002
    ) -> None:
        """Add an exception that the handler dealt with itself."""
        said = {"exception.type": type(exception).__name__, "exception.message": str(exception)}
        self.add_event("exception", {**said, **(attributes or {})}, timestamp)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went; that an attempt failed counts for more."""
        code = status.status_code if isinstance(status, Status) else status
        said = status.description if isinstance(status, Status) else description
        self._status = otlp.failed(said or "") if code is StatusCode.ERROR else b""

    def update_name(self, name: str) -> None:
        """Nothing: it is named after the task's type."""

    def end(self, end_time: int | None = None) -> None:
        """Nothing: it ends with the attempt."""

    def added(self, *, failed: bool) -> bytes:
        """Return all that was added, as parts of a span; with its status unless the attempt `failed`."""
        parts = [otlp.attributes(self._attributes)] if self._attributes else []
        return b"".join((*parts, *self._more, b"" if failed else self._status))
