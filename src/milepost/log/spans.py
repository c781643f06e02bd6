"""How spans about Kafka look, by OpenTelemetry's conventions for messaging."""

from functools import lru_cache

from opentelemetry.trace import SpanKind

from milepost.runtime import otlp
from milepost.runtime.tracing import of_task, record


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


def sent(me: str, parent: str, topic: str, began_ns: int, task: str, tenant: str, identity: str) -> None:
    """Record that a record was handed to Kafka, from when it was written until the broker had it."""
    more = of_task(task, tenant) + otlp.attribute("messaging.message.id", identity)
    record(_shape("send", "send", topic, SpanKind.PRODUCER), me, parent, began_ns, more)


def received(me: str, parent: str, topic: str, group: str, place: tuple[int, int], began_ns: int, of: bytes) -> None:
    """Record that a record was read and its task claimed; `place` is partition and offset, `of` says of what task."""
    partition, offset = place
    more = (
        otlp.known("messaging.destination.partition.id", str(partition))
        + otlp.attribute("messaging.kafka.offset", offset)
        + of
    )
    record(_shape("poll", "receive", topic, SpanKind.CLIENT, group), me, parent, began_ns, more)


def ingested(
    me: str, parent: str, topic: str, group: str, place: tuple[int, int], times: tuple[int, int], of: bytes
) -> None:
    """Record that an event was brought from Kafka to Redis; `times` are when that began and when it was over."""
    partition, offset = place
    more = (
        otlp.known("messaging.destination.partition.id", str(partition))
        + otlp.attribute("messaging.kafka.offset", offset)
        + of
    )
    began_ns, ended_ns = times
    record(_shape("process", "process", topic, SpanKind.CONSUMER, group), me, parent, began_ns, more, ended_ns)
