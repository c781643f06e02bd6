"""A Redis to start and stop, a Postgres to ask, tasks that live, and a client that folds what it is sent."""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from milepost.errors import Unavailable
from milepost.store import Child, Store
from milepost.store.connection import Pool
from milepost_schemas.event import Event, EventKind
from milepost_schemas.frames import SUBPROTOCOL
from milepost_schemas.position import Position
from tests.unit.notifier.making import Client

KEY = "test-key"
TENANT = "default"
PATIENCE_S = 20.0


class Server:
    """A redis-server on a port of its own."""

    def __init__(self, binary: Path, port: int, folder: Path) -> None:
        self._command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    def start(self) -> None:
        """Start, and return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: everything it knew is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


_PUT = """
insert into milepost.tasks (
    id, tenant, type, queue, priority, state, epoch, seq, attempt, max_attempts, payload, result, progress, labels,
    parent_id, root_id, created_at
)
values ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, '{}', $10, $11, $12, $13, $14, $15)
on conflict (id) do update
set state = excluded.state, epoch = excluded.epoch, seq = excluded.seq, attempt = excluded.attempt,
    result = excluded.result, progress = excluded.progress
"""


class Postgres:
    """The owner of all tasks: the real store over the real server. Counts how often the relay asks it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._store = Store(pool)
        self._unwritten: dict[UUID, tuple[Any, ...]] = {}
        self._writing = asyncio.Lock()
        self.asked = 0
        self.asked_for_children = 0
        self.refused = 0
        self._away = False

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let it answer nobody inside the block, as the store says it when the server is gone."""
        self._away = True
        try:
            yield
        finally:
            self._away = False

    def put(self, tenant: str, task: dict[str, Any], at: Position) -> None:
        """Let a row be as `task` says, from the next question on."""
        id_ = UUID(str(task["id"]))
        self._unwritten[id_] = (
            id_, tenant, task["type"], task["queue"], task["state"], *at, task["attempt"], task["max_attempts"],
            _text(task["result"]), _text(task["progress"]), _text(task["labels"]), _uuid(task["parent_id"]),
            _uuid(task["root_id"]), datetime.fromisoformat(task["created_at"]),
        )  # fmt: skip

    async def delete(self, task: UUID) -> None:
        """Let a row be gone."""
        await self._write()
        await self._pool.execute("delete from milepost.tasks where id = $1", task)

    async def children(self, pairs: Sequence[tuple[str, UUID]], limit: int) -> list[Child]:
        """Return children."""
        if self._away:
            self.refused += 1
            raise Unavailable("Postgres is away.")
        self.asked_for_children += 1
        await self._write()
        return await self._store.children(pairs, limit)

    async def task_views(self, pairs: Sequence[tuple[str, UUID]]) -> list[tuple[dict[str, Any], Position]]:
        """Return rows."""
        if self._away:
            self.refused += 1
            raise Unavailable("Postgres is away.")
        self.asked += 1
        await self._write()
        return await self._store.task_views(pairs)

    async def descendants_among(self, tenant: str, pairs: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """Return pairs of a task and what is above it."""
        if self._away:
            self.refused += 1
            raise Unavailable("Postgres is away.")
        await self._write()
        return await self._store.descendants_among(tenant, pairs)

    async def _write(self) -> None:
        async with self._writing:  # whoever asks meanwhile finds what was taken before
            rows, self._unwritten = list(self._unwritten.values()), {}
            if rows:
                await self._pool.executemany(_PUT, rows)


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _uuid(value: Any) -> UUID | None:
    return None if value is None else UUID(value)


class Living:
    """A task that lives through its events. `postgres` learns of lifecycle as the real one does: first."""

    def __init__(
        self, postgres: Postgres | None = None, tenant: str = TENANT, task: UUID | None = None, **members: Any
    ) -> None:
        self.id = task or UUID(str(uuid7()))
        self.tenant = tenant
        self.at = Position(0, 0)
        self.task: dict[str, Any] = {
            "id": str(self.id), "type": "t", "queue": "q", "state": "queued", "attempt": 0, "max_attempts": 3,
            "root_id": str(self.id), "created_at": "2026-01-01T00:00:00Z", "epoch": 0, "progress": None,
            "result": None, "priority": "normal", "labels": {}, "key": None, "parent_id": None, "error": None,
            "due_at": None, "started_at": None, "finished_at": None, "trace_id": None, **members,
        }  # fmt: skip
        self._postgres = postgres
        self._store()

    def queued(self) -> Event:
        """Return the first event."""
        return self._event(EventKind.QUEUED, dict(self.task))

    def started(self) -> Event:
        """Return the event of a claim."""
        self.at = Position(self.at.epoch + 1, 0)
        return self._event(EventKind.STARTED, {"state": "running", "progress": None})

    def progress(self, done: int) -> Event:
        """Return an event with progress."""
        self.at = Position(self.at.epoch, self.at.seq + 1)
        return self._event(EventKind.PROGRESS, {"progress": {"done": done, "total": 100}})

    def log(self, line: str) -> Event:
        """Return an event beside the task."""
        self.at = Position(self.at.epoch, self.at.seq + 1)
        return self._event(EventKind.LOG, {"line": line})

    def succeeded(self, result: Any = 1) -> Event:
        """Return the terminal event."""
        self.at = Position(self.at.epoch, self.at.seq + 1)
        return self._event(EventKind.SUCCEEDED, {"state": "succeeded", "result": result})

    def retried(self) -> Event:
        """Return the event with which a task that is over begins anew."""
        self.at = Position(self.at.epoch + 1, 0)
        return self._event(EventKind.QUEUED, {**self.task, "state": "queued", "progress": None, "result": None})

    def _event(self, kind: EventKind, data: dict[str, Any]) -> Event:
        if kind.patches:
            self.task |= {**data, "epoch": self.at.epoch}
        if kind.patches and kind is not EventKind.PROGRESS:
            self._store()
        now = datetime.now(UTC)
        return Event(task=self.id, tenant=self.tenant, root=self.id, at=self.at, kind=kind, time=now, data=data)

    def _store(self) -> None:
        if self._postgres is not None:
            self._postgres.put(self.tenant, self.task, self.at)


class Watcher:
    """One WebSocket client. Frames are folded by subscription; waiting is for a frame, never for time."""

    def __init__(self, line: ClientConnection) -> None:
        self.line = line
        self.clients: dict[int, Client] = {}
        self.frames: list[dict[str, Any]] = []

    async def send(self, frame: dict[str, Any]) -> None:
        """Send a frame."""
        await self.line.send(orjson.dumps(frame).decode())

    async def sub(self, task: UUID, number: int = 1, since: Sequence[int] | None = None, **more: Any) -> None:
        """Subscribe."""
        frame: dict[str, Any] = {"t": "sub", "id": number, "task": str(task), **more}
        if since is not None:
            frame["from"] = since
            self.clients.setdefault(number, Client()).at = (since[0], since[1])
        await self.send(frame)

    async def next(self) -> dict[str, Any]:
        """Return the next frame, folded in."""
        async with asyncio.timeout(PATIENCE_S):
            frame: dict[str, Any] = orjson.loads(await self.line.recv())
        if frame["t"] == "ping":
            await self.send({"t": "pong"})
        self.fold(frame)
        self.frames.append(frame)
        return frame

    def fold(self, frame: dict[str, Any]) -> None:
        """Take a frame into the fold of its subscription."""
        if frame["t"] in {"snap", "ev", "end"}:
            self.clients.setdefault(frame["id"], Client()).take(frame)

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first frame that fulfils the condition."""
        while True:
            frame = await self.next()
            if condition(frame):
                return frame

    async def at(self, position: Sequence[int]) -> dict[str, Any]:
        """Return the frame that brings position."""
        return await self.until(lambda frame: frame.get("at") == list(position))

    async def end(self) -> dict[str, Any]:
        """Return the next end."""
        return await self.until(lambda frame: frame["t"] == "end")

    async def closed(self) -> tuple[int, str]:
        """Return code and reason of the close."""
        with suppress(ConnectionClosed):
            while True:
                await self.next()
        assert self.line.close_code is not None
        return self.line.close_code, self.line.close_reason or ""


class Listening(Protocol):
    """Whatever clients reach on a port."""

    @property
    def port(self) -> int:
        """Bound on this machine."""
        ...


@asynccontextmanager
async def line_to(edge: Listening, **options: Any) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket."""
    given: dict[str, Any] = {
        "uri": f"ws://127.0.0.1:{edge.port}/v1/stream",
        "subprotocols": [SUBPROTOCOL],
        "compression": None,
        "ping_interval": None,
        "proxy": None,
        **options,
    }
    async with connect(**given) as line:
        yield line


@asynccontextmanager
async def watcher_of(edge: Listening, **options: Any) -> AsyncIterator[Watcher]:
    """Open a WebSocket and say hello."""
    async with line_to(edge, **options) as line:
        watcher = Watcher(line)
        await watcher.send({"t": "hello", "token": KEY})
        assert (await watcher.next())["t"] == "welcome"
        yield watcher
