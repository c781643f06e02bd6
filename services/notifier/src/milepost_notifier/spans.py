"""Spans of the relay: an event on its way from Kafka to Redis, and the frames that tell of it."""

from functools import lru_cache
from time import time_ns
from typing import NamedTuple

from opentelemetry.trace import SpanKind

from milepost.live import LiveEvent
from milepost.log.reader import Consumed
from milepost.log.spans import ingested
from milepost.runtime import otlp
from milepost.runtime.tracing import of_task, record, recorded, within
from milepost_schemas.event import Event, EventKind

_LIFECYCLE = frozenset(kind for kind in EventKind if kind.patches and kind is not EventKind.PROGRESS)
_FRAMES = frozenset(kind.value for kind in _LIFECYCLE)


class Passing(NamedTuple):
    """An event whose trace is recorded, and the traceparent it came with."""

    event: Event
    parent: str
    record: Consumed


def passing(event: Event, consumed: Consumed) -> Passing | None:
    """Have an event go on under a span of its own; None if it gets none: what neither begins, moves nor ends a task."""
    parent = event.traceparent
    if parent is None or event.kind not in _LIFECYCLE or not recorded(parent):
        return None
    event.traceparent = within(parent)
    return Passing(event, parent, consumed)


def passed(each: Passing, group: str, began_ns: int, ended_ns: int) -> None:
    """Record that it is in Redis."""
    event, consumed = each.event, each.record
    if event.traceparent is not None:
        of = of_task(str(event.task), event.tenant) + otlp.known("milepost.event.kind", event.kind.value)
        place = consumed.partition, consumed.offset
        ingested(event.traceparent, each.parent, consumed.topic, group, place, (began_ns, ended_ns), of)


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
            if above is not None:
                more = of_task(event.task.decode(), tenant) + otlp.known("milepost.frame.clients", clients)
                record(_shape(event.kind), within(above), above, self._began_ns, more)
