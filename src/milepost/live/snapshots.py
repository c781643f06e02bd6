"""Snapshots of tasks and their short history, kept by scripts that run inside Redis."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from milepost.errors import Unavailable
from milepost.live.wire import (
    MEMBERS,
    LiveEvent,
    Sort,
    head_of,
    is_progress_only,
    json_text,
    members_of,
    merged_of,
    merged_text,
    object_text,
    parse,
    row_text,
)
from milepost.runtime.logs import get_logger
from milepost_schemas.event import Event
from milepost_schemas.position import Position
from milepost_schemas.task import TaskState

log = get_logger("milepost.live.snapshots")

BATCH: Final = 200
"""Events, or tasks, in one call of a script."""
OPEN_TTL_S: Final = 7 * 86400
FINISHED_TTL_S: Final = 3600
_TTL_EVERY: Final = 64
"""Progress renews the time to live this often, so that a task may run for longer than it."""
_WHOLE: Final = frozenset({"id", "type", "queue", "state", "attempt", "max_attempts", "root_id", "created_at"})
"""Members by which an event shows that it holds the whole task: the first one does, and those made from a row."""
_FINISHED: Final = tuple(state.value for state in TaskState if state.terminal)


class Standing(NamedTuple):
    """Where a snapshot stands. `complete`: it holds all members and no event before `at` was missed."""

    at: Position
    complete: bool
    finished: bool


@dataclass(frozen=True, slots=True)
class View:
    """A task at a position, and what came after an earlier one.

    `task` is JSON text; `history` holds the events after the position asked for, as far as they are still there.
    `tail` has what was streamed last, oldest first, each as JSON text of position, kind and data. `age` is how many
    seconds ago the last event was applied, or the task was put in from Postgres; None: not known.
    """

    at: Position
    task: bytes
    finished: bool
    traceparent: str | None = None
    complete: bool = True
    history: tuple[LiveEvent, ...] = field(default=())
    tail: tuple[bytes, ...] = ()
    age: float | None = None

    def after(self, position: Position) -> list[LiveEvent] | None:
        """Return the events from `position` to `at` in an unbroken chain; None when there is no such chain."""
        if position == self.at:
            return []
        chain: list[LiveEvent] = []
        for event in self.history:
            if event.at <= position:
                continue
            if not event.continues(chain[-1].at if chain else position):
                return None
            chain.append(event)
        return chain if chain and chain[-1].at == self.at else None


class Wanted(NamedTuple):
    """A task to read: with the events after a position, and with so many of the last streamed events."""

    tenant: str
    task: UUID
    since: Position | None = None
    tail: int = 0


class _Script:
    def __init__(self, *names: str) -> None:
        self.text = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - EVALSHA names scripts so


def key_of(tenant: str, task: UUID | str) -> str:
    """Return the key of a task's snapshot, which is also the name of its channel."""
    return f"mp:{tenant}:{task}"


def view_of(found: Sequence[Any], task: bytes) -> View | None:
    """Return the view in what the script read; None when nothing is stored there."""
    flat, entries, left_ms, streamed = found
    view = _view_of(dict(zip(flat[::2], flat[1::2], strict=True)), entries, task)
    if view is None:
        return None
    age = (FINISHED_TTL_S if view.finished else OPEN_TTL_S) - left_ms / 1000
    # Less than nothing: the time to live was set by an event of the other sort.
    return replace(view, age=age if age >= 0 else None, tail=tuple(_streamed(*entry) for entry in reversed(streamed)))


def _streamed(id_: bytes, pair: tuple[bytes, bytes]) -> bytes:
    epoch, _, seq = id_.partition(b"-")
    kind, data = pair
    return b'{"at":[%d,%b],"kind":"%b","data":%b}' % (int(epoch) - 1, seq, kind, data)


def _view_of(fields: dict[bytes, bytes], entries: Iterable[Any], task: bytes) -> View | None:
    if b"@e" not in fields:
        head = fields.get(b"@h")
        return None if head is None else _whole_view(head, fields[b"@row"], entries, task)
    row = fields.get(b"@row")
    patches = [(name.decode(), value) for name, value in fields.items() if not name.startswith(b"@")]
    if row is None and b"id" not in fields:
        patches.insert(0, ("id", b'"%b"' % task))  # a snapshot always says whose it is
    if row is None or patches:
        patch = object_text(patches)
        shown = patch if row is None else merged_text(row, [patch])
    else:
        shown = row
    trace = fields.get(b"@tp")
    return View(
        at=Position(int(fields[b"@e"]), int(fields[b"@s"])),
        task=shown,
        finished=fields.get(b"@fin") == b"1",
        traceparent=trace.decode() if trace else None,
        complete=b"@base" in fields and b"@ge" not in fields,
        history=tuple(parse(task, pairs[1]) for _, pairs in entries),
    )


def _whole_view(head: bytes, row: bytes, entries: Iterable[Any], task: bytes) -> View:
    last = parse(task, b"%b\n%b" % (head, row))
    before = [parse(task, pairs[1]) for _, pairs in entries]
    return View(last.at, row, last.finished, last.traceparent, history=(*before, last))


def view_of_row(task: dict[str, Any], at: Position) -> View:
    """Return the view of a task read from Postgres."""
    return View(at=at, task=row_text(task) or object_text(members_of(task)), finished=is_finished(task))


def is_finished(task: dict[str, Any]) -> bool:
    """Return whether nothing happens to this task any more."""
    return TaskState(task["state"]).terminal


class Snapshots:
    """What Redis remembers of tasks. Every call is bounded in time and raises Unavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self._apply = _Script("common.lua", "apply.lua")
        self._seed = _Script("common.lua", "seed.lua")
        self._read = _Script("read.lua")
        self.healthy = True

    async def apply(self, events: Iterable[Event]) -> int:
        """Apply events in order and announce those that are news; return how many were.

        Applying an event twice changes nothing. Raises ValueError for an event with too many members.
        """
        calls = []
        coming = iter(events)
        while True:
            keys: list[str] = []
            arguments: list[Any] = []
            for event in islice(coming, BATCH):
                key = key_of(event.tenant, event.task)
                keys += (key, key + ":h")
                arguments += _arguments(event)
            if not keys:
                break
            calls.append((len(keys), *keys, *arguments))
        return sum(await self._run(self._apply, calls)) if calls else 0

    async def seed(self, tenant: str, task: dict[str, Any], position: Position) -> bool:
        """Put a task in from Postgres unless events got further; return whether the position moved forward."""
        [moved] = await self.seed_many([(tenant, task, position)])
        return moved

    async def seed_many(self, rows: Sequence[tuple[str, dict[str, Any], Position]]) -> list[bool]:
        """The same for several tasks in one round trip."""
        moved = await self._seed_some([_seed_arguments(*row) for row in rows])
        # Where events got further the members are put in one by one, below what the events said.
        again = [n for n, answer in enumerate(moved) if answer < 0]
        found = await self._seed_some([_seed_arguments(*rows[n], apart=True) for n in again])
        for n, answer in zip(again, found, strict=True):
            moved[n] = answer
        return [answer == 1 for answer in moved]

    async def _seed_some(self, seeds: Sequence[tuple[str, list[Any]]]) -> list[int]:
        calls = []
        for start in range(0, len(seeds), BATCH):
            some = seeds[start : start + BATCH]
            keys = [name for key, _ in some for name in (key, key + ":h")]
            calls.append((len(keys), *keys, *[part for _, parts in some for part in parts]))
        return [answer for answers in await self._run(self._seed, calls) for answer in answers]

    async def read(self, tenant: str, task: UUID, tail: int = 0) -> View | None:
        """Return the snapshot with so many of the last streamed events; None if Redis does not know the task."""
        [view] = await self.read_many([Wanted(tenant, task, tail=tail)])
        return view

    async def read_since(self, tenant: str, task: UUID, position: Position) -> View | None:
        """Return snapshot and history after `position`, read as one; `View.after` says whether it is unbroken."""
        [view] = await self.read_many([Wanted(tenant, task, position)])
        return view

    async def read_many(self, wanted: Sequence[Wanted]) -> list[View | None]:
        """Read several tasks in one round trip, each atomically, in order."""
        calls: list[tuple[Any, ...]] = []
        for start in range(0, len(wanted), BATCH):
            keys: list[str] = []
            arguments: list[Any] = []
            for tenant, task, position, tail in wanted[start : start + BATCH]:
                key = key_of(tenant, task)
                keys += (key, key + ":h", key + ":s")
                arguments += ("" if position is None else f"({position.epoch + 1}-{position.seq}", tail)
            calls.append((len(keys), *keys, *arguments))
        answers = [answer for found in await self._run(self._read, calls) for answer in found]
        return [
            None if answer is None else view_of(answer, str(each.task).encode())
            for each, answer in zip(wanted, answers, strict=True)
        ]

    async def positions(self, tasks: Sequence[tuple[str, UUID]]) -> list[Standing | None]:
        """Return where the snapshots stand, in one round trip; None for tasks Redis does not know."""
        async with self._reached():
            pipe = self._redis.pipeline(transaction=False)
            for tenant, task in tasks:
                pipe.hmget(key_of(tenant, task), "@e", "@s", "@base", "@ge", "@fin", "@h")
            rows = await pipe.execute() if tasks else []
        return [_standing(*row) for row in rows]

    async def ping(self) -> None:
        """Ask Redis whether it is there."""
        async with self._reached():
            await self._redis.ping()

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            if self.healthy:
                log.warning("Redis does not answer; live views stand still until it does", error=repr(error))
            self.healthy = False
            if "READONLY" in str(error):
                # A replica now, after a fail-over: only new connections can lead to the one that took over.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise Unavailable(
                f"Redis does not answer ({error}). Nothing is lost: it is read again from Kafka and Postgres."
            ) from error
        if not self.healthy:
            log.info("Redis is back")
        self.healthy = True

    async def _run(self, script: _Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script once for each call, all in one round trip."""
        async with self._reached():
            try:
                return await self._pipelined(script, calls)
            except NoScriptError:  # a new server, or SCRIPT FLUSH; scripts may run twice without harm
                await self._redis.script_load(script.text)
                return await self._pipelined(script, calls)

    async def _pipelined(self, script: _Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if len(calls) == 1:
            return [await self._redis.evalsha(script.sha, *calls[0])]
        pipe = self._redis.pipeline(transaction=False)
        for call in calls:
            pipe.evalsha(script.sha, *call)
        results: list[Any] = await pipe.execute()
        return results


def _standing(
    epoch: bytes | None, seq: bytes, base: bytes | None, gap: bytes | None, finished: bytes | None, head: bytes | None
) -> Standing | None:
    if epoch is not None:
        return Standing(Position(int(epoch), int(seq)), base is not None and gap is None, finished == b"1")
    if head is None:
        return None
    last = parse(b"", head)
    return Standing(last.at, complete=True, finished=last.finished)


def _seed_arguments(
    tenant: str, task: dict[str, Any], position: Position, *, apart: bool = False
) -> tuple[str, list[Any]]:
    """Return the key, and what seed.lua wants to know of a row; `apart`: its members one by one."""
    finished = is_finished(task)
    row = None if apart else row_text(task)
    members = members_of(task) if row is None else []
    ttl = FINISHED_TTL_S if finished else OPEN_TTL_S
    flat = [part for member in members for part in member]
    return key_of(tenant, task["id"]), [*position, ttl, int(finished), row or "", len(members), *flat]


def _arguments(event: Event) -> list[Any]:
    """Return what apply.lua wants to know of an event."""
    kind, patch = event.kind, event.data
    if kind.patches and patch.keys() == MEMBERS:
        return _whole_arguments(event)
    members: list[tuple[str, bytes]] = []
    finished: int | str = ""
    if kind.patches:
        alone = is_progress_only(event)
        lifecycle = not alone
        base = lifecycle and patch.keys() >= _WHOLE
        members = members_of({**patch, "epoch": event.at.epoch})
        if "state" in patch:
            finished = int(patch["state"] in _FINISHED)
    else:
        alone = lifecycle = base = False
    ttl = 0
    if lifecycle:
        ttl = FINISHED_TTL_S if kind.terminal else OPEN_TTL_S
    elif event.at.seq % _TTL_EVERY == 0:
        ttl = OPEN_TTL_S
    return [
        *event.at,
        merged_of(event),
        int(lifecycle) if kind.patches else 2,
        int(base),
        ttl,
        finished,
        event.traceparent or "",
        head_of(event, Sort.PROGRESS if alone else Sort.PATCH),
        object_text(members if kind.patches else members_of(patch)),
        _parent(patch) if base else "",
        len(members),
        *[part for member in members for part in member],
    ]


def _whole_arguments(event: Event) -> list[Any]:
    """The same for an event that holds the whole task."""
    epoch, seq = event.at
    task = event.data if event.data["epoch"] == epoch else {**event.data, "epoch": epoch}
    finished = task["state"] in _FINISHED
    ttl = FINISHED_TTL_S if event.kind.terminal else OPEN_TTL_S
    head = head_of(event, Sort.LAST if finished else Sort.WHOLE)
    trace, text = event.traceparent or "", json_text(task)
    return [epoch, seq, merged_of(event), 1, 2, ttl, int(finished), trace, head, text, _parent(task), 0]


def _parent(task: dict[str, Any]) -> str:
    """Return the id of a task's parent; empty if it has none. It names a channel, so it is an id or nothing."""
    parent = task.get("parent_id")
    if not isinstance(parent, str):
        return ""
    try:
        return str(UUID(parent))
    except ValueError:
        return ""
