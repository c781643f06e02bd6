"""Records nobody could read: from their topic, where each is put aside, to Postgres, where they are looked at."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from milepost.domain.failures import fingerprint
from milepost.errors import Unavailable
from milepost.log import Reader, Topics
from milepost.log.deadletters import OURS
from milepost.log.reader import Consumed, Records
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost.store.deadletters import DeadLetters, DeadRecord
from milepost_schemas.cloudevents import Header

log = get_logger("milepost.api.dead_records")

KEPT_BYTES: Final = 256 * 1024
"""Of a value so much is kept in Postgres; its topic has all of it."""
_BATCH: Final = 50
_WAIT_S: Final = 1.0
_TEXT: Final = 500
_INT: Final = 2**31 - 1
_BIGINT: Final = 2**63 - 1


class DeadRecords:
    """Brings dead letters from Kafka to Postgres. Offsets are committed once Postgres has them."""

    def __init__(self, settings: Settings, store: DeadLetters) -> None:
        topics = Topics(settings.topic_prefix)
        group = f"{settings.topic_prefix}-dead-letters"
        self._reader = Reader(settings, "milepost-api", [topics.dead_letters], group=group)
        self._store = store

    async def run(self) -> None:
        """Read until cancelled. Raises when the consumer fails; run it again then."""
        async with self._reader.open() as reader:
            while True:
                records = await reader.read(_BATCH, _WAIT_S)
                if records:
                    await self._keep(records)
                    await reader.commit(records)

    async def _keep(self, records: Records) -> None:
        """Store records, however long Postgres is away."""
        rows = [dead_record(record, datetime.now(UTC)) for record in records]
        attempt = 0
        while rows:
            try:
                added, dropped = await self._store.add_records(rows)
            except Unavailable as error:
                if attempt == 0:
                    log.warning("dead letters wait in Kafka until Postgres is back", error=str(error))
                await asyncio.sleep(jittered(attempt))
                attempt += 1
            else:
                log.warning("records nobody could read were put aside", records=added, dropped=dropped)
                return


def dead_record(record: Consumed, now: datetime) -> DeadRecord:
    """Return what a record on the topic of dead letters says. Whatever it holds, there is an answer."""
    said = dict(reversed([(n, v) for n, v in record.headers if n.startswith(OURS)]))
    topic, partition, offset = _origin(record, said)
    value = record.value or b""
    size = _number(said.get("x-origin-size"), _INT, len(value))
    none = said.get("x-origin-size") == b"none" or record.value is None
    why = _text(said.get("x-error", b"The record was put aside by somebody who did not say why."))
    task, tenant = _claims(value)
    written_ms = _number(said.get("x-origin-timestamp"), 2**48 - 1, max(0, record.timestamp))
    digest = hashlib.sha256(orjson.dumps([topic, partition, offset]) + value).digest()
    put_aside_at = min(now, datetime.fromtimestamp(min(max(0, record.timestamp) / 1000, now.timestamp()), UTC))
    return DeadRecord(
        id=_id(written_ms, digest),
        tenant=tenant,
        task=task,
        topic=topic,
        partition=partition,
        offset=offset,
        error=why,
        fingerprint=fingerprint(topic, "Undecodable", why),
        key=record.key,
        value=None if none else value[:KEPT_BYTES],
        size=0 if none else max(size, len(value)),
        headers=_headers(record.headers),
        put_aside_at=put_aside_at,
        cut=not none and (size > len(value) or len(value) > KEPT_BYTES),
    )


def resendable(row: Any, topics: Topics) -> str | None:
    """Return why a stored record cannot be sent again to where it came from; None if it can."""
    topic: str = row["topic"]
    if topic != topics.events and not topic.startswith(topics.work("")):
        return f"It came from {topic}, which is no topic that Milepost reads records like it from."
    if row["value"] is None:
        return "It had no value, so there is nothing to send."
    if row["cut"]:
        place = f"partition {row['partition']}, offset {row['offset']} of {topic}"
        return f"Only the beginning of its {row['size']:,} bytes was kept. The whole of it was at {place}."
    return None


def headers_of_row(row: Any) -> list[Header]:
    """Return the headers a stored record came with."""
    return [(name, base64.b64decode(value)) for name, value in orjson.loads(row["headers"])]


def _origin(record: Consumed, said: dict[str, bytes]) -> tuple[str, int, int]:
    topic = _text(said.get("x-origin-topic", b""))
    partition = _number(said.get("x-origin-partition"), _INT, -1)
    offset = _number(said.get("x-origin-offset"), _BIGINT, -1)
    if topic and partition >= 0 and offset >= 0:
        return topic, partition, offset
    return record.topic, record.partition, record.offset


def _claims(value: bytes) -> tuple[UUID | None, str | None]:
    """Return the task and the tenant that a value names."""
    try:
        body = orjson.loads(value)
        return UUID(body["task"]), _text(body["tenant"].encode())
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, None


def _id(written_ms: int, digest: bytes) -> UUID:
    """Return a UUIDv7 that is the same for every copy of a record."""
    number = written_ms << 80 | int.from_bytes(digest[:10])
    number = number & ~(0xF << 76) | 0x7 << 76
    return UUID(int=number & ~(0x3 << 62) | 0x2 << 62)


def _headers(headers: Sequence[Header]) -> str:
    kept = [
        (name.replace("\x00", "\N{REPLACEMENT CHARACTER}"), base64.b64encode(value or b"").decode())
        for name, value in headers
        if not name.startswith(OURS)
    ]
    return orjson.dumps(kept).decode()


def _number(text: bytes | None, most: int, otherwise: int) -> int:
    if text is None or not text.isdigit() or len(text) > 19:
        return otherwise
    return min(int(text), most)


def _text(data: bytes) -> str:
    text = data[: 4 * _TEXT].decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text[:_TEXT]
