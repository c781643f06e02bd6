"""A worker that was away too long writes nothing, and a claim nobody heard the answer to costs no attempt."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import pytest

from milepost_schemas.task import TaskState
from tests.conftest import MakeSettings, eventually
from tests.faults.slowness import Slowness
from tests.faults.watching import owner, runs, told
from tests.proxy import proxy_to
from tests.system import opened_store, running

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

TASKS = "milepost.demo,tests.tasks,tests.stopping_tasks"

FIRST_CLAIM = "new.state = 'running' and old.state = 'queued' and new.epoch = 1"


@pytest.mark.long
async def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_and_its_children_go(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    gate, says = tmp_path / "gate", tmp_path / "pid"
    env = {"MILEPOST_LEASE": "3", "MILEPOST_RENEW": "1"}
    async with running(await fresh(), workers=2, tasks=TASKS, env=env) as system, system.client() as client:
        child = await client.submit("stop.process", {"path": str(says)})
        await runs(client, child)

        async def written() -> bool:
            return says.exists() and bool(says.read_text())

        await eventually(written, "the handler's process to say who it is")
        pid = int(says.read_text())
        zombie = system.workers[await owner(system, child)]
        # One on the loop as well, of the same worker: claims of two workers are shared as Kafka likes.
        tasks = [await client.submit("test.gate", {"path": str(gate)}) for _ in range(6)]
        await runs(client, *tasks)
        zombie.pause()
        async with opened_store(system.settings) as store:

            async def taken() -> bool:
                return not await store._pool.fetchval(
                    "select count(*) from milepost.tasks as t join milepost.workers as w on w.id = t.worker"
                    " where t.state = 'running' and w.pid = $1",
                    zombie.pid,
                )

            await eventually(taken, "everything to be taken from it", 20)
            gate.touch()
            results = [await run.result(timeout=30) for run in tasks]
            assert {"attempt": 2} in results or len(tasks) == results.count({"attempt": 1})
            before = [await store.get("default", run.id) for run in tasks]
            zombie.resume()

            async def gone() -> bool:
                return not psutil.pid_exists(pid)

            await eventually(gone, "the zombie's child to be gone", 15)
            await told(zombie, "stopping", 15)
            assert [await store.get("default", run.id) for run in tasks] == before
        await client.cancel(child.id)


async def test_a_claim_whose_answer_was_lost_burns_no_attempt(fresh: MakeSettings) -> None:
    settings = await fresh()
    url = urlsplit(settings.database_url.get_secret_value())
    assert url.port is not None
    async with proxy_to(url.port, url.hostname or "127.0.0.1") as proxy:
        through = urlunsplit(url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxy.port}")))
        async with (
            running(settings, env={"MILEPOST_DATABASE_URL": through}) as system,
            system.client() as client,
            opened_store(settings) as store,
        ):
            claim = Slowness(settings, FIRST_CLAIM)
            await claim.begin()
            run = await client.submit("demo.echo", {"n": 1})
            await claim.met()
            proxy.stall()

            async def claimed() -> bool:
                row = await store.get("default", run.id)
                return row is not None and row["state"] == "running"

            await eventually(claimed, "the claim to be committed")
            proxy.cut()
            proxy.flow()

            async def done() -> bool:
                row = await store.get("default", run.id)
                return row is not None and row["state"] == TaskState.SUCCEEDED

            await eventually(done, "the task to be given back and done, well before a lease is over", 12)
            row = await store.get("default", run.id)
            assert row is not None
            assert row["attempt"] == 1
            outcomes = await store._pool.fetch("select outcome from milepost.attempts where task_id = $1", run.id)
            assert [each["outcome"] for each in outcomes] == ["released"]
