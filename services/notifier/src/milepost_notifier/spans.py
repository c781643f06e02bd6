"""Spans of the relay: an event on its way from Kafka to Redis, and the frames that tell of it."""

from functools import lru_cache
from time import time_ns

from opentelemetry.trace import SpanKind

from milepost.live import LiveEvent
from milepost.log.reader import Consumed
from milepost.log.spans import Taking
from milepost.runtime import otlp
from milepost.runtime.tracing import of_task, record, recorded, within
from milepost_schemas.event import Event, EventKind

_LIFECYCLE = frozenset(kind for kind in EventKind if kind.patches and kind is not EventKind.PROGRESS)
_FRAMES = frozenset(kind.value for kind in _LIFECYCLE)


class Passing:
    """Events of a batch whose traces are recorded, on their way: those that follow from the same span share one."""

    def __init__(self) -> None:
        self._began_ns = time_ns()
        self._takings: dict[str, Taking] = {}

    def add(self, event: Event, consumed: Consumed) -> None:
        """Have an event go on under a span, unless it gets none: what neither begins, moves nor ends a task."""
        parent = event.traceparent
        if parent is None or event.kind not in _LIFECYCLE or not recorded(parent):
            return
        taking = self._takings.get(parent)
        if taking is None:
            taking = Taking(parent, within(parent), consumed, event.task, event.tenant, event.kind.value)
            self._takings[parent] = taking
        else:
            taking.add(event.task, event.kind.value)
        event.traceparent = taking.me

    def again(self) -> None:
        """Forget them: they are read again, as Redis was away."""
        self._takings.clear()

    def passed(self, group: str) -> None:
        """Record that they are in Redis."""
        ended_ns = time_ns()
        for taking in self._takings.values():
            taking.processed(group, self._began_ns, ended_ns)


@lru_cache(64)
def _shape(kind: str) -> bytes:
    return otlp.shape(f"send frame {kind}", SpanKind.PRODUCER, (("milepost.event.kind", kind),))


class Frames:
    """The spans of what is sent in one go: one for each event that is no progress, and all clients here."""

    def __init__(self) -> None:
        self._began_ns = time_ns()
        self._events: list[tuple[LiveEvent, str, int]] = []

    def add(self, event: LiveEvent, tenant: str, clients: int) -> None:
        """Note that frames of an event go to so many clients."""
        if event.kind in _FRAMES and recorded(event.traceparent):
            self._events.append((event, tenant, clients))

    def sent(self) -> None:
        """Record that they were sent, as far as lines took them; what waits is not waited for."""
        for event, tenant, clients in self._events:
            above = event.traceparent
            record(_frames, None, above, self._began_ns, 0, event.kind, event.task.decode(), tenant, clients)


def _frames(kind: str, task: str, tenant: str, clients: int) -> bytes:
    return _shape(kind) + of_task(task, tenant) + otlp.known("milepost.frame.clients", clients)
