"""Where records go that cannot be processed."""

from milepost.log.reader import Consumed
from milepost.log.topics import Topics
from milepost.log.writer import Record, Writer
from milepost.runtime.logs import get_logger
from milepost_schemas.cloudevents import Header

log = get_logger("milepost.log.deadletters")

ERROR_CHARS = 500


def dead_letter(writer: Writer, topics: Topics, record: Consumed, why: str) -> None:
    """Copy a record, as it is, to dead-letters with its origin and the reason; reading goes on.

    While Kafka cannot take it the reason is only logged: the original stays on its topic as long as that keeps it.
    """
    log.warning("undecodable record", topic=record.topic, partition=record.partition, offset=record.offset, error=why)
    origin: list[Header] = [
        ("x-origin-topic", record.topic.encode()),
        ("x-origin-partition", str(record.partition).encode()),
        ("x-origin-offset", str(record.offset).encode()),
        ("x-error", why[:ERROR_CHARS].encode("utf-8", "replace")),
    ]
    kept = [(name, value) for name, value in record.headers if not name.startswith(("x-origin", "x-error"))]
    writer.write(Record(topics.dead_letters, record.key, record.value or b"", [*origin, *kept]))
