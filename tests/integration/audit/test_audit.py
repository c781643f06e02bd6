"""The auditor on real servers: it reads everything, and finds what is really wrong."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from milepost.audit import Record, audit
from milepost.audit.facts import Place
from milepost.audit.frames import Frames
from milepost.audit.read_store import install_journal
from milepost.client import Run
from milepost.log.connection import connection
from milepost.runtime.settings import Settings
from milepost.store import open_pool
from milepost.store.retention import Keep, Retention
from tests.conftest import MakeSettings
from tests.system import running

pytestmark = [pytest.mark.stack]


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(**connection(settings))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _forget(settings: Settings) -> None:
    """Delete all that ended, in turns with the worker that does the same."""
    pool = await open_pool(settings, "worker")
    try:
        batch = None
        while batch is None or not batch.over:
            await pool.execute("update milepost.retention_pass set next_at = now()")
            batch = await Retention(pool).forget(Keep(0.0, 0.0), 100, 1e6)
    finally:
        await pool.close()


async def test_a_system_at_work_passes_and_each_thing_broken_in_it_is_found(fresh: MakeSettings) -> None:
    settings = await fresh()
    record = Record()
    # Nothing is sent: what is looked at is whether it was noted.
    env = {"MILEPOST_WEBHOOKS": "false"}
    async with running(settings, env=env) as system, system.client() as client:
        url = settings.database_url.get_secret_value()
        await install_journal(url)
        hooks = [await client.webhooks.create("https://example.com/", labels={"told": "yes"}) for _ in range(2)]
        # What ends while one is disabled is noted too.
        await client.webhooks.change(hooks[1].id, {"enabled": False})
        tasks: list[dict[str, Any]] = [
            {"type": "demo.echo", "payload": {"n": n}, "idempotency_key": f"k{n}", "labels": {"told": "yes"}}
            for n in range(20)
        ]
        tasks += [{"type": "demo.count", "payload": {"to": 3, "delay": 0.05}, "idempotency_key": "count"}]
        tasks += [{"type": "test.retry_after", "idempotency_key": "again"}, {"type": "test.permanent"}]
        for task, run in zip(tasks, await client.submit_batch(tasks), strict=True):
            assert isinstance(run, Run)
            record.answered(run.id, task.get("idempotency_key"))
        verdict, facts = await audit(settings, record, within_s=30)
        assert verdict.good, verdict.text()
        assert verdict.counts["tasks"] == verdict.counts["accepted"] == len(tasks)
        assert verdict.counts["completions"] >= len(tasks)
        assert verdict.counts["events"] >= 2 * len(tasks)
        assert verdict.counts["hints"] >= len(tasks)
        assert verdict.counts["moves"] >= 3 * len(tasks)
        assert verdict.counts["deliveries"] == 2 * 20

        # Old tasks are deleted; not those whose ends are still to be told.
        await _forget(settings)
        verdict, facts = await audit(settings, record, within_s=30)
        assert verdict.good, verdict.text()
        assert (verdict.counts["tasks"], verdict.counts["deleted"]) == (len(tasks), len(tasks) - 20)

        # What a client is told and Postgres does not have.
        lost = uuid.uuid4()
        record.answered(lost)
        Frames(record, "client").subscribed(1, str(lost))
        # A record of somebody else, and one of ours that a test forged and said so.
        async with _producer(settings) as producer:
            for value in (b"unknown", b"known"):
                sent = await producer.send_and_wait(f"{settings.topic_prefix}.completions", value)
        known = Place(sent.topic, sent.partition, sent.offset)
        # A row changed behind everybody's back.
        victim = next(task for task, row in facts.tasks.items() if not row.deleted)
        database = await asyncpg.connect(url)
        await database.execute("update milepost.tasks set state = 'scheduled' where id = $1", victim)
        # Of webhooks that were there long before an end each is forgotten; another is told to somebody else's.
        await database.execute("update milepost.webhooks set created_at = created_at - interval '1 hour'")
        of_hook = "(select id from milepost.deliveries where webhook_id = $1 order by id limit 1) returning task_id"
        forgotten = [
            (hook.id, await database.fetchval(f"delete from milepost.deliveries where id = {of_hook}", hook.id))  # noqa: S608
            for hook in hooks
        ]
        crossed = await database.fetchval(
            f"update milepost.deliveries set tenant = 'b' where id = {of_hook}",  # noqa: S608 - a constant
            hooks[0].id,
        )
        await database.close()
        verdict, _ = await audit(settings, record, within_s=0.1, ignoring=[known])
    text = verdict.text()
    assert not verdict.good
    assert f"[1] Task {lost}: a client was told that it was accepted, and Postgres does not have it." in text
    assert f"Task {lost}: client never saw its end" in text
    assert text.count("cannot be read") == 1
    assert f"[3] Task {victim}: " in text
    for hook, task in forgotten:
        assert f"[12] Task {task}: the end of epoch 1 has no delivery to webhook {hook}" in text
    assert f"[7] Task {crossed}: " in text
    assert "[9] the backlog was not worked off within 0.1 s." in text
