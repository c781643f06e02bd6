"""After tasks that end in every way the metrics of all processes say what Postgres says, to the last one."""

import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from milepost.client import Client, Run
from milepost.embedded.ports import allocate
from milepost.embedded.processes import ManagedProcess
from tests.conftest import MakeSettings, eventually
from tests.scraping import Samples, page, scraped
from tests.system import System, running

pytestmark = pytest.mark.stack


class Sink:
    """Takes metrics by OTLP over HTTP: claims, by the instance that pushed them and by how they were made."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, str], float] = {}
        self.url = ""

    def of(self, instance: str) -> dict[tuple[str, ...], float]:
        """Return what one process pushed last."""
        return {(how,): number for (who, how), number in self.claims.items() if who == instance and number}

    async def take(self, request: web.Request) -> web.Response:
        for resource in ExportMetricsServiceRequest.FromString(await request.read()).resource_metrics:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in metric.sum.data_points if metric.name == "milepost_claims" else ():
                    how = {a.key: a.value.string_value for a in point.attributes}["how"]
                    self.claims[names["service.instance.id"], how] = point.as_double
        body = ExportMetricsServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    app = web.Application()
    app.router.add_post("/v1/metrics", sink.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/metrics"
    yield sink
    await runner.cleanup()


class Database:
    """What is so."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self.connection = connection

    async def one(self, query: str, *values: object) -> Any:
        return await self.connection.fetchval(query, *values)

    async def holder(self, run: Run) -> int | None:
        """Return the process that runs a task; None while it waits."""
        pid: int | None = await self.one(
            "select w.pid from milepost.tasks t join milepost.workers w on w.id = t.worker"
            " where t.id = $1 and t.state = 'running'",
            run.id,
        )
        return pid

    async def ended(self) -> dict[tuple[str, ...], float]:
        rows = await self.connection.fetch(
            "select queue, state, count(*) from milepost.tasks where finished_at is not null group by 1, 2"
        )
        return {(row[0], row[1]): float(row[2]) for row in rows}

    async def past(self, outcome: str) -> int:
        """Return how many attempts were over without their task being so."""
        return int(await self.one("select count(*) from milepost.attempts where outcome = $1", outcome))


async def worker_of(system: System, database: Database, run: Run) -> ManagedProcess:
    """Return the worker that runs a task, as soon as one does."""
    pids: list[int] = []

    async def held() -> bool:
        pid = await database.holder(run)
        pids.extend([pid] if pid else [])
        return bool(pids)

    await eventually(held, "a worker to run it")
    (worker,) = (each for each in system.workers if each.pid == pids[0])
    return worker


async def scraped_when_running(url: str, attempts: int) -> Samples:
    """Return what a worker shows once it runs so many: then all that ended before is counted."""
    found: list[Samples] = []

    async def settled() -> bool:
        found[:] = [await scraped(url)]
        return found[0].sum("milepost_running") == attempts

    await eventually(settled, f"{url} to run {attempts}")
    return found[0]


def check(text: str) -> None:
    """Have Prometheus' own tool look at a page."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool comes with Prometheus; on Debian: apt-get install prometheus"
    done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    # What it says of names that are not ours (Python's own) is not for us to mend.
    ours = [line for line in (done.stdout + done.stderr).decode().splitlines() if line.startswith("milepost_")]
    assert not ours, ours


async def submit_some(client: Client) -> list[Run]:
    """Submit tasks that end in as many ways as they can; return them when they have."""
    runs = [await client.submit("demo.echo", {"n": n}) for n in range(5)]
    runs.append(await client.submit("demo.echo", {}, priority="high"))
    runs.append(await client.submit("test.retry_after"))  # two retries
    runs.append(await client.submit("demo.fail", {"times": 9}, max_attempts=1))
    runs.append(await client.submit("test.permanent"))
    runs.append(await client.submit("demo.echo", {}, delay=3600))
    await runs[-1].cancel()  # by the api
    runs.append(await client.submit("demo.count", {"to": 1000, "delay": 10}))
    running = runs[-1]

    async def begun() -> bool:
        return (await running.refresh()).state == "running"

    await eventually(begun, "it to run")
    await running.cancel()  # by its worker

    async def over() -> bool:
        return all([(await run.refresh()).state.terminal for run in runs])

    await eventually(over, "all of them to end")
    return runs


async def counts_what_it_sends(system: System, client: Client) -> None:
    """Watch a task by WebSocket to its end, and a while the feed by HTTP: what comes is what is counted."""
    (notifier,) = system.notifier_urls
    headers = {"Authorization": f"Bearer {system.key}"}
    before = await scraped(notifier)
    frames: Counter[str] = Counter()
    run = await client.submit("demo.count", {"to": 4, "delay": 0.3})
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(system.streams[0], protocols=["milepost.v1"]) as line,
        session.get(f"{notifier}/v1/events", headers=headers) as feed,
    ):
        assert feed.status == 200
        await line.send_json({"t": "hello", "token": system.key})
        await line.send_json({"t": "sub", "id": 1, "task": str(run.id)})
        while not frames["snap"] + frames["ev"]:
            frames[(await line.receive_json())["t"]] += 1
        during = await scraped(notifier)
        while not frames["end"]:
            frames[(await line.receive_json())["t"]] += 1
    after = await scraped(notifier)
    for transport, number in (("websocket", 1), ("sse", 1)):
        gauges = [each.sum("milepost_relay_connections", transport=transport) for each in (before, during)]
        assert gauges[1] == gauges[0] + number
    for kind, name in (("event", "ev"), ("snapshot", "snap")):
        sent = [each.sum("milepost_frames_total", kind=kind) for each in (before, after)]
        assert sent[1] - sent[0] == frames[name]
    events = after.sum("milepost_events_ingested_total")
    assert events == after.sum("milepost_event_lag_seconds_count") > before.sum("milepost_events_ingested_total")
    assert after.sum("milepost_progress_freshness_seconds_count") > 0
    assert after.sum("milepost_relay_closed_total") == 0


async def test_metrics_say_what_postgres_says(fresh: MakeSettings, sink: Sink, tmp_path: Path) -> None:
    settings = await fresh()
    ports = list(allocate(["worker-0", "worker-1"], {}, tmp_path / "ports.json").values())
    urls = {f"worker-{n}": f"http://127.0.0.1:{port}" for n, port in enumerate(ports)}
    env = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": sink.url, "OTEL_METRIC_EXPORT_INTERVAL": "250"}

    def worker_env(number: int) -> dict[str, str]:
        return {"MILEPOST_WORKER_HTTP_PORT": str(ports[number])}

    gate = tmp_path / "gate"
    async with running(settings, workers=2, env=env, worker_env=worker_env) as system, system.client() as client:
        connection = await asyncpg.connect(settings.database_url.get_secret_value())
        database = Database(connection)
        try:
            runs = await submit_some(client)
            killed = await client.submit("test.gate", {"path": str(gate)})
            runs.append(killed)
            dead = await worker_of(system, database, killed)
            before = await scraped_when_running(urls.pop(dead.name), 1)
            dead.kill()
            gate.touch()
            await killed.result()
            (alive,) = urls.values()
            survivor = await scraped_when_running(alive, 0)
            workers, api = before + survivor, await scraped(system.url, key=system.key)

            assert (workers + api).by("milepost_tasks_ended_total", "queue", "state") == await database.ended()
            failed = await database.one("select count(*) from milepost.tasks where state = 'failed'")
            assert workers.sum("milepost_dead_letters_total") == failed == 2
            assert workers.sum("milepost_retries_total") == await database.past("failed") == 2
            lost = await database.past("lease_lost")
            assert workers.by("milepost_taken_back_total", "reason") == {("lease_lost",): lost} == {("lease_lost",): 1}
            assert workers.sum("milepost_fenced_writes_total") == workers.sum("milepost_leases_lost_total") == 0
            claims = await database.one(
                "select (select count(*) from milepost.attempts) + count(*) from milepost.tasks"
                " where started_at is not null"
            )
            assert workers.sum("milepost_claims_total") == claims == len(runs) - 1 + 2 + 1
            # The one that was claimed again after it was lost says nothing of how long tasks wait.
            assert workers.sum("milepost_schedule_to_start_seconds_count") == claims - 1
            assert workers.sum("milepost_schedule_to_start_seconds_count", lane="high") == 1
            assert workers.by("milepost_attempt_duration_seconds_count", "type", "outcome") == {
                ("demo.echo", "succeeded"): 6,
                ("test.retry_after", "retrying"): 2,
                ("test.retry_after", "succeeded"): 1,
                ("demo.fail", "failed"): 1,
                ("test.permanent", "failed"): 1,
                ("demo.count", "cancelled"): 1,
                ("test.gate", "succeeded"): 1,
            }
            assert workers.sum("milepost_slots") == 2 * settings.concurrency
            assert api.sum("milepost_submitted_total") == len(runs)
            posted = {"route": "/v1/tasks", "method": "POST", "status_class": "2xx"}
            assert api.sum("milepost_http_requests_total", **posted) == len(runs)
            assert api.sum("milepost_dependency_up") == 2

            async def pushed() -> bool:
                claimed = survivor.by("milepost_claims_total", "how")
                return any(sink.of(instance) == claimed for instance, _ in sink.claims)

            await eventually(pushed, "the same to come by OTLP")
            await counts_what_it_sends(system, client)
            check(await page(system.url, key=system.key))
            check(await page(alive))
            check(await page(system.notifier_urls[0]))
        finally:
            await connection.close()
