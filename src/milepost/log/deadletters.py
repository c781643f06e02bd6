"""Where records go that cannot be processed."""

import asyncio
from collections.abc import Sequence
from typing import Final

from milepost.log.reader import Consumed
from milepost.log.topics import Topics
from milepost.log.writer import LARGEST, Record, Writer
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost_schemas.cloudevents import Header

log = get_logger("milepost.log.deadletters")

ERROR_CHARS: Final = 500
ACKED_S: Final = 30.0
"""Reading waits so long for dead letters to be acknowledged, then goes on."""
OURS: Final = ("x-origin-", "x-error")
"""Names of headers that a dead letter adds begin so."""


def dead_letter(writer: Writer, topics: Topics, record: Consumed, why: str) -> bool:
    """Copy a record, as it is, to dead-letters with its origin and the reason; False while Kafka cannot take it.

    Of a value that Kafka would not take with these headers the beginning is copied, and its size is said.
    """
    log.warning("undecodable record", topic=record.topic, partition=record.partition, offset=record.offset, error=why)
    value = record.value or b""
    origin: list[Header] = [
        ("x-origin-topic", record.topic.encode()),
        ("x-origin-partition", str(record.partition).encode()),
        ("x-origin-offset", str(record.offset).encode()),
        ("x-origin-timestamp", str(record.timestamp).encode()),
        ("x-origin-size", b"none" if record.value is None else str(len(value)).encode()),
        ("x-error", why[:ERROR_CHARS].encode("utf-8", "replace")),
    ]
    kept = [(name, header) for name, header in record.headers if not name.startswith(OURS)]
    return writer.write(Record(topics.dead_letters, record.key, value[:LARGEST], [*origin, *kept]))


async def put_aside(writer: Writer, topics: Topics, bad: Sequence[tuple[Consumed, str]]) -> None:
    """Copy records to dead-letters, each with the reason, and wait until the broker has them.

    Waits for a broker that is away: whoever reads on commits what it has read, and then nobody reads it again.
    """
    attempt = 0
    for record, why in bad:
        while not writer.ready:
            await asyncio.sleep(jittered(attempt, cap=2.0))
            attempt += 1
        dead_letter(writer, topics, record, why)
    if bad and not await writer.flush(ACKED_S):
        log.warning("dead letters are not acknowledged yet; reading goes on", records=len(bad))
