"""How spans about Kafka look, by OpenTelemetry's conventions for messaging."""

from functools import lru_cache
from time import time_ns
from typing import Final
from uuid import UUID

from opentelemetry.trace import SpanKind

from milepost.log.reader import Consumed
from milepost.runtime import otlp
from milepost.runtime.tracing import of_task, record, within

_MESSAGE: Final = "messaging.message.id"
_TOGETHER_NS: Final = 50_000_000
"""What is written later than that was not written in one go: a record before it may have been dropped."""


@lru_cache(1_024)
def _shape(operation: str, kind: str, topic: str, span_kind: SpanKind, group: str | None = None) -> bytes:
    static = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": topic,
    }
    if group is not None:
        static["messaging.consumer.group.name"] = group
    return otlp.shape(f"{operation} {topic}", span_kind, tuple(static.items()))


def _many(count: int) -> bytes:
    return otlp.known("messaging.batch.message_count", count)


def _sent(topic: str, task: str, tenant: str, identity: str, count: int) -> bytes:
    shape = _shape("send", "send", topic, SpanKind.PRODUCER)
    if count > 1:
        return shape + otlp.known("milepost.tenant", tenant) + _many(count)
    return shape + of_task(task, tenant) + otlp.attribute(_MESSAGE, identity)


def sent(me: str, parent: str, topic: str, began_ns: int, task: str, tenant: str, identity: str) -> None:
    """Record that a record was handed to Kafka, from when it was written until the broker had it."""
    record(_sent, me, parent, began_ns, 0, topic, task, tenant, identity, 1)


class Sending:
    """The handing over of records that follow from the same span, to one topic in one go: they share a span."""

    __slots__ = ("_acked", "_began_ns", "_count", "_first", "me", "parent", "topic")

    def __init__(self, parent: str, topic: str, task: str, tenant: str, identity: str) -> None:
        """The last three are of the first record."""
        self.me = within(parent)
        """The traceparent that goes with the records."""
        self.parent, self.topic, self._first = parent, topic, (task, tenant, identity)
        self._began_ns = time_ns()
        self._count = 1
        self._acked = 0

    def takes(self, parent: str, topic: str) -> bool:
        """Count one more record in, if it belongs here and none has arrived yet."""
        if self._acked or self.parent != parent or self.topic != topic or time_ns() - self._began_ns > _TOGETHER_NS:
            return False
        self._count += 1
        return True

    def acked(self) -> None:
        """Note that the broker has one of the records, and record the span with the last."""
        self._acked += 1
        if self._acked == self._count:
            record(_sent, self.me, self.parent, self._began_ns, 0, self.topic, *self._first, self._count)


def _taken(
    operation: str,
    topic: str,
    group: str,
    partition: int,
    offset: int,
    task: UUID | None,
    tenant: str,
    kind: str | None,
    count: int,
) -> bytes:
    if operation == "poll":
        shape = _shape(operation, "receive", topic, SpanKind.CLIENT, group)
    else:
        shape = _shape(operation, "process", topic, SpanKind.CONSUMER, group)
    return b"".join(
        (
            shape,
            otlp.known("messaging.destination.partition.id", str(partition)),
            otlp.attribute("messaging.kafka.offset", offset),
            otlp.known("milepost.tenant", tenant) if task is None else of_task(task, tenant),
            b"" if kind is None else otlp.known("milepost.event.kind", kind),
            _many(count) if count > 1 else b"",
        )
    )


class Taking:
    """The taking of records that follow from the same span: they share a span, which names the first one's place."""

    __slots__ = ("_count", "_first", "_kind", "_parent", "_task", "_tenant", "me")

    def __init__(self, parent: str, me: str, first: Consumed, task: UUID, tenant: str, kind: str | None = None) -> None:
        """`me` is the traceparent of what follows; `kind` that of the event, None for what is none."""
        self.me = me
        self._parent, self._first = parent, (first.topic, first.partition, first.offset)
        self._task: UUID | None = task
        self._tenant, self._kind = tenant, kind
        self._count = 1

    def add(self, task: UUID, kind: str | None = None) -> None:
        """Count one more in."""
        self._count += 1
        self._kind = kind
        if task != self._task:
            self._task = None

    def polled(self, group: str, began_ns: int) -> None:
        """Record that hints were read, and their tasks claimed by now."""
        self._record("poll", group, began_ns, 0)

    def processed(self, group: str, began_ns: int, ended_ns: int) -> None:
        """Record that events were brought from Kafka to Redis."""
        self._record("process", group, began_ns, ended_ns)

    def _record(self, operation: str, group: str, began_ns: int, ended_ns: int) -> None:
        topic, partition, offset = self._first
        of = self._task, self._tenant, self._kind, self._count
        record(_taken, self.me, self._parent, began_ns, ended_ns, operation, topic, group, partition, offset, *of)
