"""`milepost queues` and `milepost explain`, against a served API."""

import asyncio
import json

import pytest
from pydantic import SecretStr

from milepost.cli.__main__ import main
from milepost.store import Store, migrate, open_pool
from tests.conftest import MakeSettings
from tests.integration.api.serving import COUNT, FREE, KEY, NOBODY, served

pytestmark = pytest.mark.stack


async def test_queues_are_listed_paused_limited_and_tasks_explained(
    fresh: MakeSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = await fresh(kafka_bootstrap=NOBODY, api_key=SecretStr(KEY))
    await migrate(settings)
    pool = await open_pool(settings, "test")
    try:
        await Store(pool).announce([COUNT, FREE])
    finally:
        await pool.close()

    async def said(*argv: str) -> str:
        assert await asyncio.to_thread(main, argv) == 0, capsys.readouterr().err
        # The API runs in this process, and what it logs meanwhile (there is no Kafka) is printed here too.
        lines = capsys.readouterr().out.splitlines()
        return "\n".join(line for line in lines if "module=milepost." not in line)

    async with served(settings) as api:
        monkeypatch.setenv("MILEPOST_URL", api.url)
        monkeypatch.setenv("MILEPOST_API_KEY", KEY)
        assert "no queues" in await said("queues", "list")
        task = (await api.submit(queue="mail")).json["id"]
        assert "No live worker serves queue mail" in await said("explain", task)
        assert json.loads(await said("explain", task, "--json"))["reason"] == "no_worker"
        assert "mail is paused since" in await said("queues", "pause", "mail")
        assert "Queue mail is paused" in await said("explain", task)
        assert "2 at once, 10 starts in 1 min 0 s" in await said(
            "queues", "set", "mail", "--concurrency", "2", "--rate", "10/1m"
        )
        assert "each key: 1 at once" in await said("queues", "set", "--scope", "key", "--concurrency", "1")
        shown = await said("queues", "list")
        assert "paused since" in shown
        assert "2 at once" in shown
        (line,) = (await said("queues", "list", "--json")).splitlines()
        assert json.loads(line)["depth"] == 1
        kept = "mail: finished tasks are kept 7 d, failed ones for ever."
        assert await said("queues", "keep", "mail", "--finished", "7d", "--failed", "forever") == kept
        assert json.loads(await said("queues", "list", "--json"))["retention"] == {
            "finished": 604800,
            "failed": "forever",
        }
        assert "kept 30 d, failed ones 90 d" in await said("queues", "keep", "mail", "--default")
        assert len((await said("queues", "limits")).splitlines()) == 2
        assert "mail goes on" in await said("queues", "resume", "mail")
        assert "no limit" in await said("queues", "set", "mail", "--no-limit")
