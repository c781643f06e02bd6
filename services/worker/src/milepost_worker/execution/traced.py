"""The spans of a handler in a process of its own: under those of its attempt, and out by the worker."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from opentelemetry import context as otel
from opentelemetry.trace import NonRecordingSpan

from milepost.runtime.handlerspan import handlers_context
from milepost.runtime.tracing import context_of, wanted
from milepost_worker.execution.wire import BOUNDS, Kind, frame


def prepare() -> None:
    """Import what `Traced` needs, once for all processes that are forked from this one, if spans are exported."""
    if wanted():
        for module in ("milepost.runtime.userspans", "opentelemetry.exporter.otlp.proto.common.trace_encoder"):
            import_module(module)


class Traced:
    """Sees to it that whoever asks OpenTelemetry for a tracer in this process gets one whose spans go to the worker."""

    def __init__(self, job: dict[str, Any], send: Callable[[bytes], object]) -> None:
        """`job` is what the worker sent; `send` takes a frame for it."""
        from milepost.runtime.userspans import Lazy, Outbound, make_everybodys, spans_to

        self._out = out = Outbound(lambda data: send(frame(Kind.SPANS, data)), BOUNDS[Kind.SPANS])
        make_everybodys(Lazy(lambda: spans_to(out, "worker")))
        # What the handler forks in turn must not write into the connection.
        os.register_at_fork(after_in_child=out.close)
        otel.attach(handlers_context(NonRecordingSpan(context_of(job["run"])), job["id"], job["tenant"]))

    def send(self) -> None:
        """Send spans that have ended."""
        self._out.send()
