"""Books each completion once, however often it is sent and whoever dies when."""

import asyncio
import json
import os

import asyncpg
from aiokafka import AIOKafkaConsumer

BOOK = """
with new as (insert into seen (id) values ($1) on conflict do nothing returning id)
insert into bookings (id, task, state) select id, $2, $3 from new
"""


async def main() -> None:
    """Run until killed; whoever watches over services starts it again, and what was not committed is read again."""
    db = await asyncpg.connect(os.environ["DATABASE_URL"])
    consumer = AIOKafkaConsumer(
        os.environ["TOPIC"], bootstrap_servers=os.environ["KAFKA"], group_id="booking-python",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    while True:
        batches = await consumer.getmany(timeout_ms=1000, max_records=500)
        for record in (record for batch in batches.values() for record in batch):
            headers = dict(record.headers)
            if headers.get("ce_type") != b"dev.milepost.completion.v1":
                continue
            completion = json.loads(record.value)
            await db.execute(BOOK, headers["ce_id"].decode(), completion["task"], completion["state"])
        if batches:
            await consumer.commit()


asyncio.run(main())
