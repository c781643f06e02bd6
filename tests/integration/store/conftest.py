"""A store over a database that refuses what the table of transitions does not allow."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest
import uuid_utils.compat as uuid_utils

from milepost.domain.states import TRANSITIONS
from milepost.runtime.settings import Settings
from milepost.store import Claimed, Limited, NewTask, Store, migrate, open_pool
from milepost.store.by_turns import ByTurns
from milepost.store.connection import Pool
from milepost_schemas import Priority
from tests.conftest import MakeSettings

GUARD = """
create function milepost.guard() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.state not in ('queued', 'scheduled') then raise 'born %', new.state; end if;
        return new;
    end if;
    if new.epoch < old.epoch then raise 'epoch fell from % to %', old.epoch, new.epoch; end if;
    if new.epoch = old.epoch and new.seq < old.seq then raise 'seq fell from % to %', old.seq, new.seq; end if;
    if new.attempt > new.max_attempts then raise 'attempt % of %', new.attempt, new.max_attempts; end if;
    if old.state is distinct from new.state and not exists (
        select 1 from milepost.legal as l
        where l.source = old.state and l.target = new.state and l.bumps = (new.epoch > old.epoch)
    ) then raise 'illegal: % (epoch %) -> % (epoch %)', old.state, old.epoch, new.state, new.epoch; end if;
    return new;
end $$;
create table milepost.legal (source text, target text, bumps boolean);
create trigger guard before insert or update on milepost.tasks for each row execute function milepost.guard();
"""


async def guard(pool: Pool) -> None:
    """Make the database itself hold the table of legal transitions."""
    await pool.execute(GUARD)
    rows = [(t.source, t.target, t.bumps) for t in TRANSITIONS if t.source is not None]
    await pool.executemany("insert into milepost.legal values ($1, $2, $3)", rows)


@pytest.fixture(scope="module")
async def settings(fresh: MakeSettings) -> Settings:
    made = await fresh()
    await migrate(made)
    return made


UNCOUNTED = """
do $$ declare name text; begin
    for name in select tablename from pg_tables where schemaname = 'milepost' loop
        execute format('alter table milepost.%I set (autovacuum_enabled = off)', name);
    end loop;
end $$
"""
"""Tests of plans are about tables nobody has counted yet; on a slow machine autovacuum would have come by before."""


@pytest.fixture(scope="module")
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    opened = await open_pool(settings, "test")
    await opened.execute(UNCOUNTED)
    await guard(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def store(pool: Pool) -> Limited:
    await pool.execute(
        "truncate milepost.tasks, milepost.attempts, milepost.outbox, milepost.workers, milepost.types,"
        " milepost.limits, milepost.paces"
    )
    return Limited(pool)


async def stolen(
    store: Limited, limit: int = 10, *, worker: UUID, queue: str = "default", type_: str = "t.x"
) -> list[Claimed]:
    """Have a worker that was never here steal tasks that have been queued for a second."""
    return (await ByTurns(store, worker, 15.0, [queue], [type_]).take(limit, 1.0)).claimed


async def row_of(store: Store, task: UUID) -> Any:
    """Return the row of a task of the default tenant, which must exist."""
    row = await store.get("default", task)
    assert row is not None
    return row


def new_task(**overrides: Any) -> NewTask:
    """Make a task to submit."""
    payload = orjson.dumps(overrides.pop("payload", {})).decode()
    values: dict[str, Any] = {
        "id": uuid_utils.uuid7(),
        "tenant": "default",
        "type": "t.x",
        "queue": "default",
        "priority": Priority.NORMAL,
        "max_attempts": 3,
        "payload": payload,
    }
    return NewTask(**(values | overrides))


WORKER = UUID(int=0xA)
OTHER = UUID(int=0xB)
