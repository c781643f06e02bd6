"""Webhooks while workers die: every end reaches its receiver, here the program of docs/webhooks.md."""

import asyncio
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
import pytest
from standardwebhooks import Webhook

from milepost.audit import Record, audit
from milepost.audit.read_store import install_journal
from milepost.client import Client, Run
from milepost.embedded.ports import allocate
from milepost.embedded.processes import ManagedProcess
from milepost.webhooks.secret import new_secret
from tests.conftest import MakeSettings, eventually
from tests.faults.watching import told
from tests.receiver import never, receiving, saying, when
from tests.system import System, running

pytestmark = [pytest.mark.stack, pytest.mark.faults]

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "webhooks" / "receiver.py"
WEBHOOKS = {
    "MILEPOST_WEBHOOK_HTTP": "true",
    "MILEPOST_WEBHOOK_PORTS": "*",
    "MILEPOST_WEBHOOK_NETWORKS": "127.0.0.1/32",
}


@asynccontextmanager
async def program(secret: str, home: Path, port: int) -> AsyncIterator[Path]:
    """Run the receiver of the documentation; gives where it keeps what it did."""
    books = home / "books.db"
    env = os.environ | {"WEBHOOK_SECRET": secret, "BOOKS": str(books), "PORT": str(port)}
    process = ManagedProcess("receiver", [sys.executable, str(PROGRAM)], env, home)
    (home / "log").mkdir(parents=True, exist_ok=True)
    (home / "run").mkdir(parents=True, exist_ok=True)
    await process.start()
    try:
        yield books
    finally:
        await process.stop()


def _kept(books: Path) -> list[tuple[str, str, str]]:
    if not books.exists():
        return []
    with closing(sqlite3.connect(books)) as db:
        try:
            return db.execute("select id, task, state from ends").fetchall()
        except sqlite3.OperationalError:
            return []


async def _submitted(system: System, count: int, **task: Any) -> set[str]:
    async with system.client() as client:
        ids: set[str] = set()
        batch = {"type": "demo.echo", "payload": {}, **task}
        for _ in range(0, count, 100):
            made = await client.submit_batch([batch] * min(100, count))
            ids |= {str(one.id) for one in made if isinstance(one, Run)}
        return ids


def test_the_program_is_the_one_of_the_documentation() -> None:
    shown = re.search(r"^```python\n(.*?)^```$", (ROOT / "docs" / "webhooks.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[1] == PROGRAM.read_text()


@pytest.mark.long
async def test_every_end_reaches_its_receiver_although_workers_are_killed(fresh: MakeSettings, tmp_path: Path) -> None:
    port = allocate(["receiver"], {}, tmp_path / "ports.json")["receiver"]
    async with running(await fresh(), workers=2, notifiers=0, env=WEBHOOKS) as system:
        await install_journal(system.settings.database_url.get_secret_value())
        async with system.client() as client:
            made = await client.webhooks.create(f"http://127.0.0.1:{port}/")
            # Nobody may be told anything by these: one waits for failures, one is another tenant's.
            await client.webhooks.create("https://example.com/", states=["failed"])
            key = await client.keys.create("other", tenant="other", scopes=["admin"])
            async with Client(system.url, key.key) as other:
                await other.webhooks.create("https://example.com/")
        # Nobody is there to receive yet: the first deliveries fail, and are pending when their workers die.
        ids = await _submitted(system, 100)
        async with program(made.secret, tmp_path, port) as books:
            for number in range(4):
                ids |= await _submitted(system, 100)
                victim = system.workers[number % 2]
                victim.kill()
                await victim.wait()
                await victim.start()

            async def all_there() -> bool:
                return {task for _, task, _ in _kept(books)} == ids

            await eventually(all_there, f"{len(ids)} ends", 120)
            assert {state for *_, state in _kept(books)} == {"succeeded"}
            async with system.client() as client:
                assert (await client.webhooks.get(made.id)).enabled
                # A copy of one is not done twice.
                some = [one async for one in client.webhooks.deliveries(made.id, state="delivered")][:50]
                done = await client.webhooks.replay(made.id, ids=[one.id for one in some])
                assert done.count == len(some)

                async def again() -> bool:
                    found = [one async for one in client.webhooks.deliveries(made.id)]
                    return all(one.state == "delivered" for one in found)

                await eventually(again, "the replayed ones")
            assert len(_kept(books)) == len(ids)
        record = Record()
        record.answered_all(ids)
        verdict, _ = await audit(system.settings, record)
        assert verdict.good, verdict.text()
        assert verdict.counts["deliveries"] == len(ids)
        for log in (system.settings.home / "log").iterdir():
            assert made.secret not in log.read_text(), log


async def test_messages_that_are_not_genuine_are_refused_by_the_program(tmp_path: Path) -> None:
    port = allocate(["receiver"], {}, tmp_path / "ports.json")["receiver"]
    secret, now = new_secret(), datetime.now(UTC)
    body = '{"type": "task.failed", "data": {"task": "t", "state": "failed"}}'

    def headers(at: datetime, secret: str, identity: str = "t:1") -> dict[str, str]:
        signature = Webhook(secret).sign(identity, at, body)
        return {"webhook-id": identity, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}

    async with program(secret, tmp_path, port) as books, aiohttp.ClientSession() as session:

        async def post(given: dict[str, str], content: str = body) -> int:
            async with session.post(f"http://127.0.0.1:{port}/", data=content, headers=given) as response:
                return response.status

        async def listens() -> bool:
            try:
                return await post({}) == 401
            except OSError:
                return False

        await eventually(listens, "the receiver")
        good = headers(now, secret)
        assert await post(headers(now, new_secret())) == 401
        assert await post(headers(now - timedelta(minutes=6), secret)) == 401
        assert await post(headers(now + timedelta(minutes=6), secret)) == 401
        assert await post(good, body + " ") == 401
        assert await post(good | {"webhook-id": "t:2"}) == 401
        assert await post(good | {"webhook-timestamp": "x"}) == 401
        assert _kept(books) == []
        both = good["webhook-signature"] + " " + headers(now, new_secret())["webhook-signature"]
        assert await post(good | {"webhook-signature": both}) == 204
        assert await post(good) == 204
        assert _kept(books) == [("t:1", "t", "failed")]


async def test_what_a_killed_worker_was_sending_is_sent_by_another(fresh: MakeSettings) -> None:
    async with receiving("127.0.0.1") as receiver:
        receiver.answer = never
        env = {**WEBHOOKS, "MILEPOST_WEBHOOK_TIMEOUT": "60"}
        settings = await fresh()
        async with running(
            settings, workers=2, notifiers=0, env=env, worker_env=lambda n: {"MILEPOST_WEBHOOKS": str(n == 0).lower()}
        ) as system:
            async with system.client() as client:
                await client.webhooks.create(f"http://127.0.0.1:{receiver.port}/")
            await _submitted(system, 1)
            await receiver.got(1)
            first = system.workers[0]
            first.kill()
            await first.wait()
            receiver.answer = saying(204)
            await first.start()
            await _later(settings.database_url.get_secret_value())
            await receiver.got(2)
            one, two = receiver.received
            assert one.body == two.body
            assert one.headers["webhook-id"] == two.headers["webhook-id"]


async def test_a_worker_that_drains_ends_its_requests_and_begins_no_others(fresh: MakeSettings) -> None:
    async with receiving("127.0.0.1") as receiver:
        answers = asyncio.Event()
        receiver.answer = when(answers)
        env = {**WEBHOOKS, "MILEPOST_WEBHOOK_TIMEOUT": "60", "MILEPOST_DRAIN": "60"}
        async with running(await fresh(), workers=1, notifiers=0, env=env) as system, system.client() as client:
            webhook = await client.webhooks.create(f"http://127.0.0.1:{receiver.port}/")
            await _submitted(system, 1)
            await receiver.got(1)
            worker = system.workers[0]
            psutil.Process(worker.pid).terminate()
            await told(worker, "draining")
            await client.webhooks.ping(webhook.id)
            answers.set()
            await worker.wait()
            found = [one async for one in client.webhooks.deliveries(webhook.id)]
            assert [(one.task is None, one.state, one.attempts) for one in found] == [
                (True, "pending", 0),
                (False, "delivered", 1),
            ]
            assert len(receiver.received) == 1


async def _later(database: str) -> None:
    """Let the time for which the dead worker holds its delivery be over."""
    db = await asyncpg.connect(database)
    try:
        await db.execute("update milepost.deliveries set due_at = now() where state = 'sending'")
    finally:
        await db.close()
