"""Every statement of Milepost, one method each. Batched ones take and return sequences in the same order."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from milepost.domain.presence import Sighting
from milepost.errors import Unavailable
from milepost.runtime.tracing import recorded
from milepost.store.connection import Connection, Pool, transient
from milepost.store.records import (
    PRIORITIES,
    CancelOutcome,
    Child,
    Claimed,
    Filters,
    Finish,
    GivenUp,
    Held,
    Moved,
    NewTask,
    Release,
    Renewed,
    Retry,
    Submitted,
    WorkerBeat,
)
from milepost.store.spans import writing
from milepost.store.view import position, task_view
from milepost_schemas.position import Position
from milepost_schemas.task import TaskState
from milepost_schemas.worker import TypeInfo, WorkerInfo

LIVE_S = 15.0
"""A worker that has not been seen for so long is not shown as live."""
NEWEST = 4
"""Of a task with many children, so many times as many as wanted are looked at."""


@cache
def sql(name: str) -> str:
    """Return the text of `sql/NAME.sql`."""
    return files("milepost.store").joinpath("sql", f"{name}.sql").read_text()


def columns_of(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...] | None]:
    """Return the columns of rows for `unnest`; None, which it reads as NULLs, for one with no value at all.

    Not only short: asyncpg asks each value of an array whether it is an array too.
    """
    columns = zip(*rows, strict=True)
    return [None if column[0] is None and column.count(None) == len(column) else column for column in columns]


def claimed_row(row: Any) -> Claimed:
    """Return what a claim gave."""
    return Claimed(*row.values())


def _runs(rows: Sequence[Finish | Retry | Release]) -> list[str]:
    return [row.run for row in rows if row.run is not None]


@contextmanager
def _explained() -> Iterator[None]:
    """Make what Postgres says of itself an Unavailable that tells what to do."""
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise Unavailable("The database lacks tables of this version. Run `milepost migrate`.") from error
    except Unavailable:
        raise  # it says what is wrong with each host
    except Exception as error:
        if transient(error):
            raise Unavailable(f"Postgres did not answer ({type(error).__name__}). Try again in a moment.") from error
        raise


class Store:
    """Postgres behind named methods.

    Raises Unavailable when the database is away: nothing was written, or, if the connection broke in the middle, it
    is unknown whether it was; every write here is safe to repeat.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def _fetch(self, name: str, *arguments: Any) -> list[Any]:
        with _explained():
            return await self._pool.fetch(sql(name), *arguments)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        """Give a connection for several statements of one transaction. Raises Unavailable."""
        with _explained():
            async with self._pool.transaction() as connection:
                yield connection

    async def ping(self) -> None:
        """Return if Postgres answers and takes writes. Raises Unavailable."""
        try:
            [[read_only]] = await self._pool.fetch("show transaction_read_only")
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable(f"Postgres did not answer ({type(error).__name__}).") from error
        if read_only == "on":
            raise Unavailable("Postgres takes no writes (a standby, or a demoted primary).")

    # -- from the api

    async def submit(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Store new tasks in one statement; see Submitted for idempotency keys that were used before.

        Doing it again with the same tasks stores nothing and returns the same, so it may be repeated when its outcome
        is unknown.
        """
        # One order of keys for everybody: two batches that share keys would otherwise wait for each other's rows.
        ordered = sorted(tasks, key=lambda t: (t.tenant, t.idempotency_key or ""))
        columns = columns_of(
            (
                t.id, t.tenant, t.type, t.queue, PRIORITIES[t.priority], t.max_attempts, t.timeout_s, t.payload,
                t.labels, t.key, t.parent_id, t.root_id, t.traceparent, t.idempotency_key, t.fingerprint,
                t.run_at, t.delay, t.expires_in, t.total_timeout_s, t.counted_bytes,
            )
            for t in ordered
        )  # fmt: skip
        traced = [t.traceparent for t in tasks if t.traceparent is not None and recorded(t.traceparent)]
        with writing("INSERT", "submit", traced, len(tasks)):
            stored = {row["id"]: row for row in await self._fetch("submit", *columns)}
        missing = [(t.tenant, t.idempotency_key, t.id) for t in tasks if t.id not in stored]
        before: dict[tuple[str, str | None], Any] = {}
        if missing:
            for row in await self._fetch("submitted_before", *columns_of(missing)):
                before[row["tenant"], row["idempotency_key"]] = row
                stored.setdefault(row["id"], row)
        results = []
        for t in tasks:
            # Ours too if it is there under our id: an earlier try of this call, whose answer got lost.
            old = None if t.id in stored else before[t.tenant, t.idempotency_key]
            row = stored[t.id] if old is None else old
            results.append(Submitted(row["id"], TaskState(row["state"]), row["created_at"], row["due_at"], old))
        return results

    async def submitted_before(self, pairs: Sequence[tuple[str, str]]) -> list[Any | None]:
        """Return the row of the task of each (tenant, idempotency key), in that order; None where there is none."""
        rows = await self._fetch("submitted_before", *columns_of((tenant, key, None) for tenant, key in pairs))
        found = {(row["tenant"], row["idempotency_key"]): row for row in rows}
        return [found.get(pair) for pair in pairs]

    async def get(self, tenant: str, task: UUID) -> Any | None:
        """Return the task's row; None if the tenant has no such task."""
        rows = await self._fetch("get", tenant, task)
        return rows[0] if rows else None

    async def get_many(self, pairs: Sequence[tuple[str, UUID]]) -> list[Any | None]:
        """Return the row of each (tenant, task), in that order; None where the tenant has no such task."""
        found = {(row["tenant"], row["id"]): row for row in await self._fetch("get_many", *columns_of(pairs))}
        return [found.get(pair) for pair in pairs]

    async def find(self, tenant: str, filters: Filters) -> list[Any]:
        """Return rows, newest first."""
        f = filters
        labels = orjson.dumps(f.labels).decode() if f.labels else None
        asked = (tenant, f.states, f.type, f.queue, labels, f.created_from, f.created_before, f.after, f.limit)
        # Plans do not depend on what is asked (decision 4): each of these goes by an index of its own.
        if f.parent_id is not None:
            return await self._fetch("list_children", *asked, f.parent_id, f.root_id)
        if f.root_id is not None:
            return await self._fetch("list_tree", *asked, f.root_id)
        return await self._fetch("list", *asked)

    async def cancel(self, tenant: str, task: UUID) -> CancelOutcome | None:
        """End a task that nobody runs, ask a running one to stop, leave a finished one; None: no such task."""
        rows = await self._fetch("cancel", tenant, task)
        return CancelOutcome(rows[0], rows[0]["moved"], rows[0]["tree"]) if rows else None

    # -- from workers

    async def claim(self, worker: UUID, lease_s: float, wanted: Sequence[Held]) -> list[Claimed]:
        """Take those of `wanted` that are still queued under their epoch."""
        if not wanted:
            return []
        return [claimed_row(row) for row in await self._fetch("claim", *columns_of(wanted), worker, lease_s)]

    async def renew(self, lease_s: float, rows: Sequence[tuple[Held, int, str | None]]) -> list[Renewed]:
        """Keep leases; each row is (held, last seq, progress as JSON text or None). Missing ones are lost."""
        columns = columns_of((held.id, held.epoch, seq, progress) for held, seq, progress in rows) or [None] * 4
        found = await self._fetch("renew", *columns, lease_s)
        return [Renewed(Held(row["id"], row["epoch"]), row["cancel"]) for row in found]

    async def finish(self, rows: Sequence[Finish]) -> list[Moved | None]:
        """Write terminal states and their outbox rows; None for a task that has been fenced."""
        columns = columns_of((*r.held, r.seq, r.state, r.result, r.error, r.progress) for r in rows)
        with writing("UPDATE", "finish", _runs(rows), len(rows)):
            return self._moved(rows, await self._fetch("finish", *columns))

    async def retry(self, rows: Sequence[Retry]) -> list[Moved | None]:
        """Schedule next attempts; None for a task that has been fenced."""
        columns = columns_of((*r.held, r.seq, r.delay, r.error, r.progress) for r in rows)
        with writing("UPDATE", "retry", _runs(rows), len(rows)):
            return self._moved(rows, await self._fetch("retry", *columns))

    async def release(self, rows: Sequence[Release]) -> list[Moved | None]:
        """Give tasks back to their queue without counting the attempt; None for one that has been fenced."""
        columns = columns_of((*r.held, r.seq) for r in rows)
        with writing("UPDATE", "release", _runs(rows), len(rows)):
            return self._moved(rows, await self._fetch("release", *columns))

    async def abandon(self, rows: Sequence[GivenUp]) -> set[Held]:
        """Leave tasks to the next sweep, each with its reason; return those that were ours. Once said it stays so."""
        if not rows:
            return set()
        columns = columns_of((*r.held, r.error, r.counts) for r in rows)
        return {Held(row["id"], row["epoch"]) for row in await self._fetch("abandon", *columns)}

    async def runs_before(self, runs: Sequence[Held]) -> list[int | None]:
        """Return of each claim under what epoch the task ran before; None if it did not."""
        found = {row["id"]: row["before"] for row in await self._fetch("runs_before", *columns_of(runs))}
        return [found.get(run.id) for run in runs]

    async def held_by(self, worker: UUID) -> list[Held]:
        """Return the running tasks that Postgres knows under a worker's id."""
        return [Held(row["id"], row["epoch"]) for row in await self._fetch("held_by", worker)]

    @staticmethod
    def _moved(asked: Sequence[Finish | Retry | Release], found: list[Any]) -> list[Moved | None]:
        by_id = {
            (row["id"], row["epoch"]): Moved(
                TaskState(row["state"]), row.get("attempt"), row.get("due_at"), row.get("finished_at")
            )
            for row in found
        }
        return [by_id.get(r.held) for r in asked]

    # -- passes any process may make

    async def absent(self) -> list[Sighting]:
        """Return workers that said to this server they hold their presence lock, and do not.

        They are dead, cut off, or about to take it again.
        """
        return [Sighting(*row.values()) for row in await self._fetch("absent")]

    async def sweep(self, limit: int, dead: Sequence[Sighting] = ()) -> list[Any]:
        """Take back tasks whose lease ran out or whose worker is among the `dead`; return their rows after it.

        A worker that holds its lock by now, or said something since it was seen, is not dead.
        """
        return await self._fetch("sweep", limit, [each.worker for each in dead], [each.at for each in dead])

    async def due(self, limit: int) -> list[Any]:
        """Queue scheduled tasks whose time has come; return their rows after it."""
        return await self._fetch("due", limit)

    async def expire(self, limit: int) -> list[Any]:
        """Fail tasks that were not started in time; return their rows after it."""
        return await self._fetch("expire", limit)

    async def next_due(self) -> float | None:
        """Return seconds until `due` or `expire` has something to do (negative: now); None: nothing is scheduled."""
        rows = await self._fetch("next_due")
        seconds: float | None = rows[0][0]
        return seconds

    async def take_outbox(self, older_than_s: float, limit: int, hold_s: float = 30.0) -> list[Any]:
        """Return rows of terminal tasks whose completion is overdue; nobody else gets them for `hold_s`."""
        return await self._fetch("outbox_take", older_than_s, limit, hold_s)

    async def delete_outbox(self, rows: Sequence[Held]) -> list[None]:
        """Forget completions that Kafka acknowledged."""
        await self._fetch("outbox_delete", *columns_of(rows))
        return [None] * len(rows)

    # -- workers and types

    async def beat(self, beat: WorkerBeat) -> None:
        """Say that a worker is alive."""
        b = beat
        await self._fetch(
            "worker_beat", b.id, b.name, b.host, b.pid, b.version, b.queues, b.types, b.slots, b.running, b.draining,
            b.presence, b.rates,
        )  # fmt: skip

    async def gone(self, worker: UUID) -> None:
        """Say that a worker ended; forgets also those not seen for an hour."""
        await self._fetch("worker_gone", worker)

    async def workers(self) -> list[WorkerInfo]:
        """Return live workers, oldest first."""
        return [WorkerInfo.model_validate(dict(row)) for row in await self._fetch("workers", LIVE_S)]

    async def announce(self, types: Sequence[TypeInfo]) -> None:
        """Store what a worker can run; the last to speak is right."""
        if not types:
            return
        rows = (
            (
                t.type, t.queue, t.max_attempts, t.timeout, t.isolation, t.description,
                orjson.dumps(t.payload_schema).decode(),
                None if t.result_schema is None else orjson.dumps(t.result_schema).decode(),
                t.total_timeout,
            )
            for t in sorted(types, key=lambda t: t.type)
        )  # fmt: skip
        await self._fetch("announce_types", *columns_of(rows))

    async def types(self) -> list[TypeInfo]:
        """Return every type a worker has ever announced, by name."""
        return [
            TypeInfo(
                type=row["type"],
                queue=row["queue"],
                max_attempts=row["max_attempts"],
                timeout=row["timeout_s"],
                total_timeout=row["total_timeout_s"],
                isolation=row["isolation"],
                description=row["description"],
                payload_schema=orjson.loads(row["payload_schema"]),
                result_schema=None if row["result_schema"] is None else orjson.loads(row["result_schema"]),
                workers=row["workers"],
            )
            for row in await self._fetch("types", LIVE_S)
        ]

    # -- for the relay

    async def task_view(self, tenant: str, task: UUID) -> tuple[dict[str, Any], Position] | None:
        """Return a task as the API shows it and the position Postgres knows; None: no such task."""
        row = await self.get(tenant, task)
        return None if row is None else (task_view(row), position(row))

    async def task_views(self, pairs: Sequence[tuple[str, UUID]]) -> list[tuple[dict[str, Any], Position]]:
        """The same for many (tenant, task) in one statement; those that do not exist are left out."""
        if not pairs:
            return []
        return [(task_view(row), position(row)) for row in await self._fetch("get_many", *columns_of(pairs))]

    async def children(self, pairs: Sequence[tuple[str, UUID]], limit: int) -> list[Child]:
        """Return the children of many (tenant, task) in one statement, of each `limit` at most, open ones first.

        Of a task with many times as many only the newest are looked at. None of another tenant's.
        """
        if not pairs:
            return []
        rows = await self._fetch("children", *columns_of(pairs), limit, limit * NEWEST)
        return [Child(row["tenant"], row["parent"], row["id"], position(row), row["over"]) for row in rows]

    async def descendants_among(self, tenant: str, pairs: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """Return those of the (task, ancestor) pairs in which the second is above the first."""
        tasks, ancestors = zip(*pairs, strict=True)
        rows = await self._fetch("descendants_among", tenant, list(tasks), list(ancestors))
        return {(row["task"], row["ancestor"]) for row in rows}
