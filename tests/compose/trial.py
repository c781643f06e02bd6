"""Runs inside the project's networks: a load, clients that watch, and the audit. One command a line, one answer a line.

{"do": "open", "clients": 200, "readers": 20}   connect, and make a webhook for every end; answered when all is there
{"do": "load", "rate": 20}                      submit so many tasks a second from now on
{"do": "more", "accepted": 20, "ended": 10}     answered when so many more were accepted, and seen to their ends
{"do": "verify"}                                rest, wait for every end, audit
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from milepost.audit import Record, Verdict, audit
from milepost.audit.facts import Facts
from milepost.audit.read_store import install_journal
from milepost.client import Client
from milepost.runtime.settings import Settings
from tests.compose.load import noted
from tests.compose.receiver import End, Receiver, receiving
from tests.diary import VARIABLE
from tests.server_sent import Reader
from tests.traffic import Submitter, Watcher, spread

CONNECT_S = 60.0
MORE_S = 240.0
DRAINED_S = 240.0
CLIENTS_WAIT_S = 75.0
"""The notifier compares what it told with Postgres every 30 s."""
LOOK_AGAIN_S = 0.1


class Trial:
    """The clients, and the record of what they were told. All of them know the proxy's address and no other."""

    def __init__(
        self,
        settings: Settings,
        session: aiohttp.ClientSession,
        streaming: aiohttp.ClientSession,
        receiver: Receiver,
    ) -> None:
        assert settings.api_key is not None
        self._receiver = receiver
        self._settings = settings
        self._key = settings.api_key.get_secret_value()
        self._session = session
        self._streaming = streaming
        self._record = Record()
        self._submitter = Submitter(session, settings.url, self._key, self._record)
        self._watchers: list[Watcher] = []
        self._readers: list[Reader] = []
        self._running: list[asyncio.Task[None]] = []
        self._load: asyncio.Task[None] | None = None

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a line says; return the answer."""
        match command.pop("do"):
            case "known":
                self._record.answered_all(command["tasks"])
                return self._figures()
            case "open":
                return await self._open(**command)
            case "load":
                return self._begin_load(**command)
            case "more":
                return await self._more(**command)
            case "verify":
                return await self._verify()
            case other:
                return {"problem": f"there is no {other}"}

    async def close(self) -> None:
        """Stop everything."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._submitter.close()

    async def _open(self, clients: int, readers: int) -> dict[str, Any]:
        settings, record = self._settings, self._record
        async with Client() as client:
            self._receiver.secret = (await client.webhooks.create(self._receiver.url)).secret
        for number in range(clients):
            name = f"client {number}"
            self._watchers.append(Watcher(self._session, [settings.stream_url], self._key, record, name))
        for number in range(readers):
            name = f"reader {number}"
            self._readers.append(Reader(self._streaming, [settings.events_url], self._key, record, name))
        self._running += [asyncio.create_task(each.run()) for each in self._everybody]
        async with asyncio.timeout(CONNECT_S):
            while not all(watcher.connects for watcher in self._watchers):
                await asyncio.sleep(LOOK_AGAIN_S)
        return self._figures()

    def _begin_load(self, rate: float) -> dict[str, Any]:
        chance = random.Random(1)
        everybody = self._everybody
        chance.shuffle(everybody)
        pacing = self._submitter.pace(rate, 4, noted, chance, spread(everybody))
        self._load = asyncio.create_task(pacing)
        return self._figures()

    async def _more(self, accepted: int, ended: int) -> dict[str, Any]:
        accepted += len(self._record.accepted)
        ended += self._ended
        async with asyncio.timeout(MORE_S):
            while len(self._record.accepted) < accepted or self._ended < ended:
                if self._load is not None and self._load.done():
                    self._load.result()
                await asyncio.sleep(LOOK_AGAIN_S)
        return self._figures()

    async def _verify(self) -> dict[str, Any]:
        if self._load is not None:
            self._load.cancel()
        await self._submitter.finish(MORE_S)
        verdict, facts = await self._audit()
        everybody = self._everybody
        if any(each.open for each in everybody):
            async with asyncio.timeout(CLIENTS_WAIT_S + DRAINED_S):
                await asyncio.gather(*(each.all_ended(CLIENTS_WAIT_S) for each in everybody))
            verdict, facts = await self._audit()
        refused = [*self._submitter.tally.refused, *(said for each in everybody for said in each.refused)]
        refused += await self._untold({(each.task, each.epoch) for each in facts.deliveries})
        # An auditor without any of its books finds nothing wrong in them.
        looked = all(verdict.counts[book] > 0 for book in ("accepted", "marks", "deliveries", "watches"))
        good = verdict.good and not refused and looked
        return {**self._figures(), "good": good, "verdict": verdict.text(), "refused": refused[:20]}

    async def _untold(self, ends: set[End]) -> list[str]:
        """Wait until the receiver was told each end that has a delivery; return what is wrong with what it was told."""
        told = self._receiver.told
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAINED_S
        while not ends <= told.keys() and loop.time() < until:
            await asyncio.sleep(LOOK_AGAIN_S)
        wrong = [f"the receiver was never told of task {task}, epoch {epoch}" for task, epoch in ends - told.keys()]
        wrong += [
            f"the receiver was told of task {task}, epoch {epoch}, which has no delivery"
            for task, epoch in told.keys() - ends
        ]
        if self._receiver.refused:
            wrong.append(f"{self._receiver.refused} messages to the receiver were not signed as they should be")
        return wrong

    async def _audit(self) -> tuple[Verdict, Facts]:
        return await audit(self._settings, self._record, within_s=DRAINED_S, diary=Path(os.environ[VARIABLE]))

    @property
    def _everybody(self) -> list[Watcher | Reader]:
        return [*self._watchers, *self._readers]

    @property
    def _ended(self) -> int:
        return len(self._record.watches) - sum(each.open for each in self._everybody)

    def _figures(self) -> dict[str, Any]:
        tally = self._submitter.tally
        return {
            "accepted": len(self._record.accepted),
            "watched": len(self._record.watches),
            "ended": self._ended,
            "connects": sum(each.connects for each in self._watchers),
            "byes": sum(each.byes for each in self._watchers),
            "told": len(self._receiver.told),
            "told_again": self._receiver.told.total() - len(self._receiver.told),
            "answers_to_repeat": dict(tally.unavailable),
        }


async def main() -> None:
    """Read lines until there are none."""
    settings = Settings.load()
    await install_journal(settings.database_url.get_secret_value())
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        # What browsers say when they want a stream. Behind one origin it tells a stream from a list.
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers={"Accept": "text/event-stream"}
        ) as streaming,
        receiving(beside=urlsplit(settings.url).hostname or "") as receiver,
    ):
        trial = Trial(settings, session, streaming, receiver)
        try:
            while line := await lines.readline():
                try:
                    answer = await trial.do(orjson.loads(line))
                except TimeoutError:
                    answer = {"problem": f"it took too long: {line.decode().strip()}", **trial._figures()}
                sys.stdout.write(orjson.dumps(answer).decode() + "\n")
                sys.stdout.flush()
        finally:
            await trial.close()


if __name__ == "__main__":
    asyncio.run(main())
