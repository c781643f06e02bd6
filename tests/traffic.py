"""Load from outside, with a record of everything clients were told, for the auditor."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import aiohttp
import orjson

from milepost.audit import Record, Watch
from milepost.audit.frames import Frames
from milepost_schemas.frames import SUBPROTOCOL
from milepost_schemas.position import Position

ANSWER_S = 8.0
"""The API promises an answer within 5 s; a client waits a little longer before it asks again."""
AGAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class Job:
    """A task to submit; `cancel_after` seconds somebody cancels it, None: nobody does."""

    members: dict[str, Any]
    cancel_after: float | None = None
    watched: bool = False


Mix = Callable[[random.Random, int], Job]


@dataclass(slots=True)
class Tally:
    """Figures of a load."""

    requests: int = 0
    unavailable: Counter[str] = field(default_factory=Counter)
    """Answers other than "stored", and requests without one, by what they were."""
    refused: list[str] = field(default_factory=list)
    """Answers that say the client is wrong, which it is not."""
    slowest_s: float = 0.0
    cancelled: int = 0


class Submitter:
    """Submits in batches at a steady rate, each task with a key, and again until it is answered.

    So a submission whose outcome is unknown is repeated, as a client that cares does, and must not make a second task.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, record: Record, name: str = "load") -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._record = record
        self._name = name
        self._number = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self.tally = Tally()

    async def pace(
        self, rate: float, batch: int, mix: Mix, chance: random.Random, accepted: Callable[[UUID], None]
    ) -> None:
        """Submit `rate` tasks a second until cancelled; `accepted` gets those that are to be watched."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            jobs = [mix(chance, self._number + n) for n in range(batch)]
            self._spawn(self._submit_jobs(jobs, accepted))
            due += batch / rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def submit(self, jobs: Sequence[Job]) -> list[UUID]:
        """Submit once, repeating until each is answered; return their ids."""
        ids: list[UUID] = []
        await self._submit_jobs(jobs, lambda _: None, ids.append)
        return ids

    async def finish(self, within_s: float) -> None:
        """Wait until every submission and cancellation under way has been answered."""
        async with asyncio.timeout(within_s):
            while self._under_way:
                await asyncio.wait(set(self._under_way))

    async def close(self) -> None:
        """Give up what is under way; what that may have made is noted as unanswered."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _submit_jobs(
        self, jobs: Sequence[Job], watched: Callable[[UUID], None], each: Callable[[UUID], None] = lambda _: None
    ) -> None:
        open_: list[tuple[str, Job]] = []
        for job in jobs:
            self._number += 1
            open_.append((f"{self._name}-{self._number}", job))
        try:
            while open_:
                open_ = await self._try(open_, watched, each)
                if open_:
                    await asyncio.sleep(AGAIN_S)
        except asyncio.CancelledError:
            self._record.unanswered += len(open_)
            raise

    async def _try(
        self, jobs: list[tuple[str, Job]], watched: Callable[[UUID], None], each: Callable[[UUID], None]
    ) -> list[tuple[str, Job]]:
        body = orjson.dumps({"tasks": [job.members | {"idempotency_key": key} for key, job in jobs]})
        answer = await self._post("/v1/tasks/batch", body)
        if answer is None:
            return jobs
        status, text = answer
        if status != 200:
            if 400 <= status < 500 and status != 429:
                self.tally.refused.append(f"the API refused a batch: {status} {text[:500]!r}")
                self._record.unanswered += len(jobs)
                return []
            self.tally.unavailable[str(status)] += 1
            return jobs
        left = []
        for (key, job), result in zip(jobs, orjson.loads(text)["results"], strict=True):
            if "task" not in result:
                self.tally.unavailable[f"{result['status']} in a batch"] += 1
                left.append((key, job))
                continue
            task = UUID(result["task"]["id"])
            self._record.answered(task, key)
            each(task)
            if job.watched:
                watched(task)
            if job.cancel_after is not None:
                self._spawn(self._cancel(task, job.cancel_after))
        return left

    async def _cancel(self, task: UUID, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            answer = await self._post(f"/v1/tasks/{task}/cancel", b"")
            if answer is not None and answer[0] < 500:
                self.tally.cancelled += answer[0] < 300
                return
            await asyncio.sleep(AGAIN_S)

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes] | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.tally.requests += 1
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._session.post(self._url + path, data=body, headers=self._headers) as response,
            ):
                text = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.tally.unavailable[type(error).__name__] += 1
            return None
        self.tally.slowest_s = max(self.tally.slowest_s, loop.time() - began)
        return response.status, text


class Watcher:
    """One client on one WebSocket that watches many tasks, comes back when it breaks, and resumes.

    A raw client on purpose: what the library folds away the auditor wants to see.
    """

    def __init__(
        self, session: aiohttp.ClientSession, streams: Sequence[str], key: str, record: Record, name: str
    ) -> None:
        self._session = session
        self._streams = list(streams)
        self._key = key
        self._record = record
        self.name = name
        self._next = 0
        self._open: dict[int, tuple[UUID, Watch]] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._frames = Frames(record, name)
        self._changed = asyncio.Event()
        self.connects = 0
        self.resets = 0
        self.byes = 0
        """Times a notifier that was about to stop sent it away."""
        self._comes_back_after_s: float | None = None
        self.refused: list[str] = []

    @property
    def open(self) -> int:
        """Watches that have not seen their end."""
        return len(self._open)

    def watch(self, task: UUID) -> Watch:
        """Watch a task from now on, or as soon as there is a connection."""
        self._next += 1
        watch = self._record.watch(task, self.name)
        self._open[self._next] = (task, watch)
        if self._socket is not None:
            self._subscribe(self._next)
        return watch

    async def run(self) -> None:
        """Stay connected until cancelled; the next notifier is tried when one fails."""
        attempt = 0
        while True:
            url = self._streams[attempt % len(self._streams)]
            attempt += 1
            try:
                await self._session_with(url)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, TypeError):
                pass
            finally:
                self._socket = None
            after_s, self._comes_back_after_s = self._comes_back_after_s, None
            await asyncio.sleep(random.uniform(0.05, 0.5) if after_s is None else after_s)

    async def all_ended(self, within_s: float) -> bool:
        """Wait until every watch has seen its end; False if that takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._open:
                    self._changed.clear()
                    await self._changed.wait()
        return not self._open

    async def _session_with(self, url: str) -> None:
        async with (
            asyncio.timeout(10) as opening,
            self._session.ws_connect(url, protocols=(SUBPROTOCOL,), max_msg_size=0, compress=0) as socket,
        ):
            await socket.send_str(orjson.dumps({"t": "hello", "token": self._key}).decode())
            welcome = orjson.loads((await socket.receive()).data)
            opening.reschedule(None)
            if welcome["t"] != "welcome":
                return
            self.connects += 1
            self._socket = socket
            self._frames = Frames(self._record, self.name)
            for number in list(self._open):
                self._subscribe(number)
            # No frame, not even a ping, for longer than two pings: a peer that vanished.
            while True:
                message = await socket.receive(timeout=2.5 * welcome["ping"])
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                self._take(orjson.loads(message.data))

    def _subscribe(self, number: int) -> None:
        task, watch = self._open[number]
        since = _seen(watch)
        frame: dict[str, Any] = {"t": "sub", "id": number, "task": str(task), "tree": False}
        if since is not None:
            frame["from"] = list(since)
        self._frames.subscribed(number, str(task), since, watch)
        self._send(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        self._frames.got(frame)
        match frame["t"]:
            case "ping":
                self._send({"t": "pong"})
            case "bye":
                self.byes += 1
                self._comes_back_after_s = frame["after"] / 1000
            case "snap" if frame.get("reset"):
                self.resets += 1
            case "end":
                self._open.pop(frame["id"], None)
                self._changed.set()
            case "err" if frame["code"] == "unavailable" and frame.get("id") in self._open:
                asyncio.get_running_loop().call_later(AGAIN_S, self._again, frame["id"], self._socket)
            case "err":
                self.refused.append(f"{self.name} was refused: {frame}")

    def _again(self, number: int, socket: aiohttp.ClientWebSocketResponse | None) -> None:
        if number in self._open and socket is self._socket and socket is not None:
            self._subscribe(number)

    def _send(self, frame: dict[str, Any]) -> None:
        socket = self._socket
        if socket is not None:
            task = asyncio.ensure_future(_sent(socket, orjson.dumps(frame).decode()))
            _SENDING.add(task)
            task.add_done_callback(_SENDING.discard)


_SENDING: set[asyncio.Future[None]] = set()


async def _sent(socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
    with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
        await socket.send_str(text)


def _seen(watch: Watch) -> Position | None:
    """Return the largest position a client has seen of a task."""
    return max((frame.at for frame in watch.frames if frame.at is not None and frame.t != "sub"), default=None)


class Watches(Protocol):
    """A client that watches tasks, however it does."""

    def watch(self, task: UUID) -> Watch:
        """Watch a task from now on."""
        ...


def spread(watchers: Sequence[Watches]) -> Callable[[UUID], None]:
    """Return a function that gives each task it gets to the next watcher."""
    turns = iter(_forever(watchers))

    def give(task: UUID) -> None:
        next(turns).watch(task)

    return give


def _forever(watchers: Sequence[Watches]) -> Iterable[Watches]:
    while True:
        yield from watchers
