"""Collects what Postgres holds."""

import asyncio
from collections.abc import Collection
from importlib.resources import files
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from milepost.audit.facts import DeliveryRow, Facts, Move, PastAttempt, TaskRow, Told, WebhookRow, digest
from milepost.errors import Unavailable
from milepost.store.connection import transient
from milepost_schemas.task import RESULT_INLINE_BYTES

_POLL_S = 0.25


async def install_journal(database_url: str) -> None:
    """Let the database note every move of a task from now on; see `journal.sql` for what that costs."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(files("milepost.audit").joinpath("journal.sql").read_text())
    finally:
        await connection.close()


async def drained(database_url: str, accepted: Collection[UUID], within_s: float) -> float | None:
    """Wait until no accepted task is open and no completion waits in the outbox.

    Returns the seconds that took, None if it took longer than `within_s`. Postgres may be away meanwhile.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            left = await _open(database_url, accepted)
        except Exception as error:
            if not transient(error):
                raise
            left = 1
        if left == 0:
            return loop.time() - began
        if loop.time() - began > within_s:
            return None
        await asyncio.sleep(_POLL_S)


async def _open(database_url: str, accepted: Collection[UUID]) -> int:
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        waiting: int = await connection.fetchval("select count(*) from milepost.outbox", timeout=30)
        rows = await connection.fetch(
            "select id from milepost.tasks where state in ('queued', 'scheduled', 'running', 'waiting')", timeout=30
        )
        return waiting + sum(_uuid(row[0]) in accepted for row in rows)
    finally:
        await connection.close(timeout=5)


async def read_store(database_url: str, facts: Facts) -> None:
    """Fill in rows, history, outbox and, if there is one, the journal, all as of one moment. Raises Unavailable."""
    try:
        connection = await asyncpg.connect(database_url, timeout=10)
    except OSError as error:
        raise Unavailable(f"Postgres did not answer ({error!r}), so nothing was audited. Is it running?") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            journal = await connection.fetchval("select to_regclass('milepost_audit.moves') is not null")
            for statement in (_DELETED, _TASKS) if journal else (_TASKS,):
                async for row in connection.cursor(statement, prefetch=5000):
                    task = _task(row)
                    facts.tasks[task.id] = task
            async for row in connection.cursor(_HISTORY, prefetch=5000):
                facts.history.setdefault(_uuid(row[0]), []).append(PastAttempt(*row[1:]))
            rows = await connection.fetch("select task_id, epoch from milepost.outbox")
            facts.outbox = [(_uuid(row[0]), row[1]) for row in rows]
            await _read_webhooks(connection, facts, journal=journal)
            if journal:
                facts.moves = {}
                async for row in connection.cursor(_MOVES, prefetch=5000):
                    facts.moves.setdefault(_uuid(row[0]), []).append(_move(row))
    finally:
        await connection.close()


async def _read_webhooks(connection: Any, facts: Facts, *, journal: bool) -> None:
    facts.webhooks = {_uuid(row["id"]): _webhook(row) for row in await connection.fetch(_WEBHOOKS)}
    async for row in connection.cursor(_DELIVERIES, prefetch=5000):
        facts.deliveries.append(DeliveryRow(_uuid(row[0]), row[1], _uuid(row[2]), row[3]))
    if facts.webhooks or facts.deliveries:
        for statement in (_TOLD_DELETED, _TOLD) if journal else (_TOLD,):
            async for row in connection.cursor(statement, prefetch=5000):
                facts.told[_uuid(row[0])] = Told(row[1], orjson.loads(row[2]), row[3])


_TASK = "select id, tenant, state, epoch, seq, attempt, max_attempts, result::text, idempotency_key, "
_TASKS = f"{_TASK} false as deleted from milepost.tasks"
_DELETED = f"{_TASK} true as deleted from milepost_audit.deleted"
_HISTORY = (
    "select task_id, epoch, attempt, case when ended then 'retried ' || outcome else outcome end from milepost.attempts"
)
_MOVES = (
    "select task_id, source, target, epoch_before, epoch, attempt_before, attempt, max_attempts, application,"
    " worker, extract(epoch from at)::float8 from milepost_audit.moves order by n"
)

_WEBHOOKS = (
    "select id, tenant, types, states, labels::text,"
    " extract(epoch from created_at)::float8 as since, extract(epoch from deleted_at)::float8 as until"
    " from milepost.webhooks"
)
_DELIVERIES = "select webhook_id, tenant, task_id, epoch from milepost.deliveries where task_id is not null"
_TOLD = "select id, type, labels::text, extract(epoch from finished_at)::float8 from milepost.tasks"
_TOLD_DELETED = _TOLD.replace("milepost.tasks", "milepost_audit.deleted")


def _task(row: Any) -> TaskRow:
    text: str | None = row["result"]
    value = None if text is None else orjson.loads(text)
    return TaskRow(
        id=_uuid(row["id"]),
        tenant=row["tenant"],
        state=row["state"],
        epoch=row["epoch"],
        seq=row["seq"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        result=None if value is None else digest(value),
        key=row["idempotency_key"],
        inline=text is None or len(text.encode()) < RESULT_INLINE_BYTES,
        deleted=row["deleted"],
    )


def _webhook(row: Any) -> WebhookRow:
    types, states, labels = row["types"], row["states"], row["labels"]
    return WebhookRow(
        tenant=row["tenant"],
        types=None if types is None else frozenset(types),
        states=None if states is None else frozenset(states),
        labels=None if labels is None else orjson.loads(labels),
        since=row["since"],
        until=row["until"],
    )


def _move(row: Any) -> Move:
    *values, worker, at = row[1:]
    return Move._make([*values, None if worker is None else _uuid(worker), at])


def _uuid(value: Any) -> UUID:
    # asyncpg's own subclass would not be the key another UUID finds.
    return UUID(bytes=value.bytes)
