"""Server-sent events as clients read them: the lines of the standard, and a client that comes back, for the auditor."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from milepost.audit import Record, Watch
from milepost.audit.frames import Frames
from milepost_schemas.position import Position

BEAT_S = 15.0


@dataclass
class Block:
    """The lines up to an empty one."""

    kind: str = ""
    """Empty: no event, only a comment or a time to wait."""
    data: str = ""
    id: str | None = None
    retry: int | None = None
    comment: bool = False

    @property
    def frame(self) -> dict[str, Any]:
        """The frame of an event."""
        frame: dict[str, Any] = orjson.loads(self.data)
        return frame


async def blocks_in(content: aiohttp.StreamReader, within_s: float) -> AsyncIterator[Block]:
    """Yield what comes until the response ends.

    Raises TimeoutError when nothing came for so long, AssertionError for lines no browser knows, and what aiohttp
    raises when the response breaks off.
    """
    lines: dict[str, str] = {}
    while True:
        async with asyncio.timeout(within_s):
            line = (await content.readline()).decode()
        if not line:
            assert not lines, f"the stream ended inside an event: {lines}"
            return
        line = line.removesuffix("\n")
        if line:
            word, _, value = line.partition(":")
            assert word in {"", "event", "data", "id", "retry"}, f"a line that no browser knows: {line!r}"
            assert word not in lines, f"a line of this kind again: {line!r}"
            lines[word] = value.removeprefix(" ")
        elif lines:
            assert ("event" in lines) == ("data" in lines), lines
            retry = int(lines["retry"]) if "retry" in lines else None
            yield Block(lines.get("event", ""), lines.get("data", ""), lines.get("id"), retry, "" in lines)
            lines = {}


class Reader:
    """One client that follows many tasks, each by a response of its own; it comes back when one breaks, and resumes."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], key: str, record: Record, name: str
    ) -> None:
        self._session = session
        self._urls = list(urls)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._record = record
        self._following: list[asyncio.Task[None]] = []
        self.name = name
        self.connects = 0
        self.resets = 0
        self.refused: list[str] = []

    @property
    def open(self) -> int:
        """Watches that have not seen their end."""
        return sum(not task.done() for task in self._following)

    def watch(self, task: UUID) -> Watch:
        """Watch a task from now on."""
        watch = self._record.watch(task, self.name)
        self._following.append(asyncio.create_task(self._follow(_Followed(task, watch))))
        return watch

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._following:
                task.cancel()
            await asyncio.gather(*self._following, return_exceptions=True)

    async def all_ended(self, within_s: float) -> bool:
        """Wait until every watch has seen its end; False if that takes longer."""
        if self._following:
            ended, _ = await asyncio.wait(self._following, timeout=within_s)
            for task in ended:
                task.result()
        return not self.open

    async def _follow(self, each: "_Followed") -> None:
        turn = 0
        while not each.over:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                url = f"{self._urls[turn % len(self._urls)]}/v1/tasks/{each.task}/events"
                headers = {**self._headers, "Last-Event-ID": each.last_id} if each.last_id else self._headers
                async with self._session.get(url, headers=headers, timeout=_PATIENCE) as response:
                    if response.status == 200:
                        await self._read(response, each)
                    elif response.status < 500:
                        self.refused.append(f"{self.name} was refused: {response.status} {await response.text()}")
            turn += 1
            await asyncio.sleep(random.uniform(0.05, 0.5))

    async def _read(self, response: aiohttp.ClientResponse, each: "_Followed") -> None:
        self.connects += 1
        frames = Frames(self._record, self.name)
        since = None if not each.last_id else Position(*map(int, each.last_id.split(":")))
        frames.subscribed(0, str(each.task), since, each.watch)
        async for block in blocks_in(response.content, 2.5 * BEAT_S):
            if block.kind:
                frames.got(block.frame)
                self.resets += bool(block.frame.get("reset"))
                each.last_id = block.id or each.last_id
                each.over = each.over or block.kind == "end"


@dataclass
class _Followed:
    task: UUID
    watch: Watch
    last_id: str = ""
    over: bool = False


_PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
