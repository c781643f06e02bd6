"""The service as a whole: health, its description, and what happens when a server of ours is away."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from aiokafka import AIOKafkaConsumer
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from milepost.embedded import temporary_home
from milepost.embedded.ports import allocate
from milepost.embedded.postgres import PostgresServer
from milepost.log import Topics, ensure_topics
from milepost.runtime.settings import Settings
from milepost.store import NewTask, Store, WorkerBeat, migrate, open_pool
from milepost_schemas import CancelRequest, Completion, Dispatch, Event, Priority
from milepost_schemas.cloudevents import decode
from tests.conftest import MakeSettings, eventually
from tests.integration.api.serving import COUNT, FREE, KEY, NOBODY, Api, run, served


async def test_livez_and_readyz_answer_with_and_without_the_prefix(api: Api) -> None:
    for prefix in ("", "/v1"):
        assert (await api.get(f"{prefix}/livez", key=None)).json == {"status": "alive"}
        ready = await api.get(f"{prefix}/readyz", key=None)
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        assert [ready.json["checks"][name]["ok"] for name in ("postgres", "kafka")] == [True, False]
        assert "start about a second later" in ready.json["checks"]["kafka"]["meanwhile"]
        assert ready.json["checks"]["kafka"]["since"] <= datetime.now(UTC).isoformat()


async def test_a_database_without_its_tables_is_not_ready(fresh: MakeSettings) -> None:
    settings = await fresh(kafka_bootstrap=NOBODY)
    async with served(settings) as api:
        ready = await api.get("/v1/readyz", key=None)
        assert (ready.status, ready.json["status"]) == (503, "unready")
        assert "0001_tasks" in ready.json["checks"]["postgres"]["detail"]
        await migrate(settings)
        assert (await api.get("/v1/readyz", key=None)).status == 200


async def test_types_and_workers_are_listed(api: Api, store: Store) -> None:
    beat = WorkerBeat(UUID(int=9), "worker-0", "here", 1, "1", ["counting"], ["demo.count"], 16, 0, draining=False)
    await store.beat(beat)
    types = {item["type"]: item for item in (await api.get("/v1/types")).json["items"]}
    assert types["demo.count"]["workers"] == 1
    assert types["demo.count"]["payload_schema"] == COUNT.payload_schema
    workers = (await api.get("/v1/workers")).json["items"]
    assert [worker["name"] for worker in workers] == ["worker-0"]


async def test_the_description_is_sound(api: Api) -> None:
    document = api.document
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    references = {line.split('"')[3] for line in json.dumps(document, indent=1).splitlines() if '"$ref"' in line}
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references == known
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            in_path = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
            assert in_path == re.findall(r"{(\w+)}", path)
            assert operation["responses"]


async def test_the_page_with_the_description_cannot_be_framed(api: Api) -> None:
    page = await api.get("/v1/docs", key=None)
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


async def test_a_fault_of_ours_is_a_problem_without_details(
    fresh: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = await fresh(kafka_bootstrap=NOBODY, api_key=SecretStr(KEY))
    await migrate(settings)
    async with served(settings) as api:
        pool = await open_pool(settings, "test")
        # A row no version of ours writes.
        strange = NewTask(uuids.uuid7(), "default", "demo.free", "hunter2", Priority.NORMAL, 1, "{}")
        await Store(pool).submit([strange])
        await pool.execute("update milepost.tasks set priority = 99")
        await pool.close()
        answer = await api.get("/v1/tasks")
    assert (answer.status, answer.kind) == (500, "internal")
    assert b"99" not in answer.json["detail"].encode()
    assert b"hunter2" not in answer.content
    assert answer.json["trace_id"] in capsys.readouterr().out


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a directory that an account without rights can reach, which pytest's own is not."""
    with temporary_home("api") as made:
        (made / "log").mkdir()
        (made / "run").mkdir()
        yield made


@pytest.fixture
async def postgres(home: Path) -> AsyncIterator[PostgresServer]:
    """Start a Postgres that may be stopped."""
    server = PostgresServer(home, allocate(["postgres"], {}, home / "run" / "ports.json")["postgres"])
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_without_postgres_everything_is_refused_quickly_until_it_is_back(
    postgres: PostgresServer, fresh: MakeSettings
) -> None:
    settings = await fresh(kafka_bootstrap=NOBODY, api_key=SecretStr(KEY), database_url=SecretStr(postgres.url))
    await migrate(settings)
    pool = await open_pool(settings, "test")
    await Store(pool).announce([COUNT])
    await pool.close()
    async with served(settings) as api:
        task = (await api.submit()).json
        await postgres.stop()
        began = time.monotonic()
        answers = await asyncio.gather(
            api.submit(),
            api.get(task["links"]["self"]),
            api.get("/v1/tasks"),
            api.get("/v1/types"),
            api.post(task["links"]["cancel"]),
            api.post("/v1/tasks/batch", json={"tasks": [{"type": "demo.count", "payload": {"to": 1}}]}),
        )
        assert time.monotonic() - began < 5
        for answer in answers:
            assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (503, "unavailable", "2")
        assert (await api.get("/v1/livez", key=None)).status == 200
        assert (await api.get("/v1/readyz", key=None)).status == 503
        await postgres.start()

        async def accepted() -> bool:
            return (await api.submit()).status == 202

        await eventually(accepted, "submissions are accepted again")
        assert (await api.get(task["links"]["self"])).status == 200


async def test_a_postgres_that_hangs_does_not_hang_callers(postgres: PostgresServer, fresh: MakeSettings) -> None:
    settings = await fresh(kafka_bootstrap=NOBODY, api_key=SecretStr(KEY), database_url=SecretStr(postgres.url))
    await migrate(settings)
    pool = await open_pool(settings, "test")
    await Store(pool).announce([COUNT])
    async with served(settings) as api:
        task = (await api.submit()).json
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("lock table milepost.tasks in access exclusive mode")
            began = time.monotonic()
            answers = await asyncio.gather(api.submit(), api.get(task["links"]["self"]))
            assert time.monotonic() - began < 6
            assert [answer.status for answer in answers] == [503, 503]

        async def accepted() -> bool:
            return (await api.submit()).status == 202

        await eventually(accepted, "submissions are accepted again")
    await pool.close()


@pytest.mark.stack
async def test_with_kafka_everything_is_announced(fresh: MakeSettings) -> None:
    settings = await fresh(api_key=SecretStr(KEY))
    await migrate(settings)
    await ensure_topics(settings, ["counting"])
    pool = await open_pool(settings, "test")
    store = Store(pool)
    await store.announce([COUNT, FREE])
    topics = Topics(settings.topic_prefix)
    consumer = AIOKafkaConsumer(
        topics.events,
        topics.completions,
        topics.control,
        topics.work("counting"),
        bootstrap_servers=settings.kafka_bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with served(settings) as api:

            async def connected() -> bool:
                return bool((await api.get("/v1/readyz", key=None)).json["status"] == "ready")

            await eventually(connected, "the writer is connected")
            # Nobody made the topics of this queue: that must hold up nothing that follows.
            await api.submit(queue="nowhere")
            queued = (await api.submit()).json
            delayed = (await api.submit(delay=600)).json
            await api.post(delayed["links"]["cancel"])
            running = (await api.submit()).json
            await run(store, running["id"])
            await api.post(running["links"]["cancel"])
            found: list[tuple[str, str, object]] = []
            models: dict[str, type[Any]] = {
                topics.events: Event,
                topics.completions: Completion,
                topics.control: CancelRequest,
                topics.work("counting"): Dispatch,
            }
            async with asyncio.timeout(20):
                while len(found) < 9:
                    record = await consumer.getone()
                    message = decode(models[record.topic], record.value, record.headers)
                    found.append((record.topic, str(message.task), message))
            events = [m for topic, task, m in found if topic == topics.events and task == queued["id"]]
            assert isinstance(events[0], Event)
            assert (events[0].kind, events[0].at) == ("queued", (0, 0))
            assert events[0].data == {
                name: value for name, value in queued.items() if name not in {"links", "watch_token"}
            }
            kinds = [m.kind for _, task, m in found if task == delayed["id"] and isinstance(m, Event)]
            assert sorted(kinds) == ["cancelled", "scheduled"]
            assert [task for topic, task, _ in found if topic == topics.control] == [running["id"]]
            dispatched = {task for topic, task, _ in found if topic == topics.work("counting")}
            assert dispatched == {queued["id"], running["id"]}
            assert [task for topic, task, _ in found if topic == topics.completions] == [delayed["id"]]

            async def forgotten() -> bool:
                return bool(await pool.fetchval("select count(*) = 0 from milepost.outbox"))

            await eventually(forgotten, "the outbox row is deleted")
    finally:
        await consumer.stop()
        await pool.close()


def _environment(settings: Settings, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "MILEPOST_DATABASE_URL": settings.database_url.get_secret_value(),
        "MILEPOST_KAFKA_BOOTSTRAP": NOBODY,
        "MILEPOST_API_KEY": KEY,
        "MILEPOST_API_PORT": str(port),
        "MILEPOST_LOG_FORMAT": "json",
    }


async def test_the_process_says_where_it_listens_and_ends_by_sigterm(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "milepost_api", env=_environment(settings, 0), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    ready: dict[str, str] = {}
    async with asyncio.timeout(30):
        while ready.get("message") != "ready":
            ready = json.loads(await process.stderr.readline())
    host, _, port = ready["url"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    process.send_signal(signal.SIGTERM)
    _, rest = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0
    assert KEY.encode() not in rest


async def test_a_port_in_use_is_one_clear_message(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "milepost_api", env=_environment(settings, port), stderr=subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    lines = said.decode().splitlines()
    assert len(lines) == 1
    assert str(port) in lines[0]
    assert "MILEPOST_API_PORT" in lines[0]


PUBLISHED = json.loads(Path("schemas/published/openapi.json").read_text())


async def test_the_openapi_document_served_is_the_published_one(api: Api) -> None:
    assert (await api.get("/v1/openapi.json")).json == PUBLISHED
