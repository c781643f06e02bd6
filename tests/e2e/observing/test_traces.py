"""One trace from the request of a page to the frame on its user's screen, as a collector receives it.

With the Collector where it was built (`make collector`), through the configuration that is deployed; else straight.
"""

import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest

from milepost.embedded.ports import allocate
from tests.collecting import OTELCOL, answers
from tests.conftest import eventually
from tests.otlp import Receiver, Seen
from tests.system import System

pytestmark = pytest.mark.stack

BROWSER = "b7ad6b7169203331"
"""Span id of the page's own span, which it does not send to anybody here."""


@pytest.fixture(scope="module")
async def deaf_api(system: System) -> AsyncIterator[str]:
    """Give the address of another api of the system, which cannot reach Kafka: whose hints are all lost."""
    (port,) = allocate(["deaf-api"], {}, system.settings.home / "run" / "deaf.json").values()
    process = system._process(
        "deaf-api", "milepost_api", MILEPOST_API_PORT=str(port), MILEPOST_KAFKA_BOOTSTRAP="127.0.0.1:1"
    )
    await process.start()
    try:
        await answers(f"http://127.0.0.1:{port}/livez")
        yield f"http://127.0.0.1:{port}"
    finally:
        await process.stop()


@pytest.fixture(scope="module")
async def apart(system: System) -> AsyncIterator[str]:
    """Give a queue whose worker makes each attempt a trace of its own."""
    queue = "apart"
    process = system._process("worker-apart", "milepost_worker", MILEPOST_TRACE_RUNS="linked", MILEPOST_QUEUES=queue)
    await process.start()
    try:
        await system.has_workers(len(system.workers) + 1)
        yield queue
    finally:
        await process.stop()


async def submit(
    system: System, type_: str, *, url: str | None = None, fail: int = 1, queue: str | None = None
) -> tuple[str, str]:
    """Submit as a page does that is traced itself; return the task and its trace.

    Its first attempt fails, unless told otherwise: such traces are kept by every Collector.
    """
    trace = uuid.uuid4().hex
    headers = {
        "Authorization": f"Bearer {system.key}",
        "Origin": system.url,
        "traceparent": f"00-{trace}-{BROWSER}-01",
        "tracestate": "vendor=1",
        "baggage": "user=somebody",
    }
    body = {"type": type_, "payload": {"fail": fail}} | ({} if queue is None else {"queue": queue})
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url or system.url}/v1/tasks", json=body, headers=headers) as response,
    ):
        task = await response.json()
    assert response.status == 202, task
    assert task["trace_id"] == trace
    return task["id"], trace


async def all_there(receiver: Receiver, trace: str, names: Iterable[str]) -> list[Seen]:
    """Wait for spans of these names; return those of the trace."""
    wanted = list(names)

    async def arrived() -> bool:
        seen = [span.name for span in receiver.of(trace)]
        return all(seen.count(name) >= wanted.count(name) for name in wanted)

    try:
        await eventually(arrived, "spans", 30.0)
    except pytest.fail.Exception:
        pytest.fail(f"no {wanted}; there are {sorted(s.name for s in receiver.of(trace))}")
    return receiver.of(trace)


def above(spans: list[Seen], span: Seen) -> list[Seen]:
    """Return a span and those above it, up to the page's."""
    by_id = {each.id: each for each in spans}
    path = [span]
    while (parent := by_id.get(path[-1].parent)) is not None:
        path.append(parent)
    assert path[-1].parent == BROWSER, f"the chain breaks above {path[-1]}"
    return path


def one(spans: list[Seen], name: str, **attributes: Any) -> Seen:
    """Return the only span of a name, with these attributes (dots are written as two underscores)."""
    wanted = {key.replace("__", "."): value for key, value in attributes.items()}
    (found,) = [s for s in spans if s.name == name and wanted.items() <= s.attributes.items()]
    return found


async def _pushed(system: System, receiver: Receiver) -> tuple[str, str]:
    """Have a task run whose attempts both came over Kafka; return it and its trace.

    A worker whose slots were taken a moment before looks into Postgres by turns, and may be there before its hint.
    """
    for _ in range(10):
        task, trace = await submit(system, "traced.loop")
        async with system.client() as client:
            async for event in client.run(task).watch():
                assert event.traceparent is None or event.traceparent[3:35] == trace
        spans = await all_there(receiver, trace, ["process traced.loop"] * 2)
        attempts = [span for span in spans if span.name == "process traced.loop"]
        if all(span.attributes["milepost.task.came_by"] == "push" for span in attempts):
            return task, trace
    pytest.fail("no task came over Kafka")


async def test_a_retry_is_one_trace_from_the_page_to_the_frame(system: System, receiver: Receiver) -> None:
    task, trace = await _pushed(system, receiver)
    work, events = (f"{system.settings.topic_prefix}.{name}" for name in ("work.default", "events"))
    completions = f"{system.settings.topic_prefix}.completions"
    spans = await all_there(
        receiver,
        trace,
        [
            "POST /v1/tasks", "INSERT milepost.tasks", *[f"send {work}", f"poll {work}", "process traced.loop"] * 2,
            *["look something up", "ask somebody", "UPDATE milepost.tasks"] * 2,
            f"send {completions}", *[f"process {events}"] * 2, "send frame succeeded",
        ],
    )  # fmt: skip
    frame = one(spans, "send frame succeeded")
    path = above(spans, frame)
    assert [(s.service, s.name, s.kind) for s in path] == [
        ("milepost-notifier", "send frame succeeded", "PRODUCER"),
        ("milepost-notifier", f"process {events}", "CONSUMER"),
        ("milepost-worker", "process traced.loop", "CONSUMER"),
        ("milepost-worker", f"poll {work}", "CLIENT"),
        ("milepost-worker", f"send {work}", "PRODUCER"),
        ("milepost-api", "POST /v1/tasks", "SERVER"),
    ]
    _, ingested, second, polled, sent, request = path
    assert all(span.began <= span.ended for span in spans)
    assert request.attributes.items() >= {
        "http.request.method": "POST", "http.route": "/v1/tasks", "url.scheme": "http",
        "http.response.status_code": 202, "network.protocol.version": "1.1", "milepost.tenant": "default",
    }.items()  # fmt: skip
    insert = one(spans, "INSERT milepost.tasks")
    assert (insert.kind, insert.parent) == ("CLIENT", request.id)
    assert insert.attributes.items() >= {
        "db.system.name": "postgresql", "db.operation.name": "INSERT", "db.collection.name": "milepost.tasks",
    }.items()  # fmt: skip
    kafka = {"messaging.system": "kafka", "messaging.destination.name": work}
    assert sent.attributes.items() >= {
        **kafka, "messaging.operation.name": "send", "messaging.operation.type": "send", "milepost.task.id": task,
    }.items()  # fmt: skip
    assert polled.attributes.items() >= {
        **kafka, "messaging.operation.name": "poll", "messaging.operation.type": "receive",
        "messaging.consumer.group.name": f"{system.settings.topic_prefix}-workers",
    }.items()  # fmt: skip
    assert {"messaging.destination.partition.id", "messaging.kafka.offset"} <= polled.attributes.keys()
    assert second.attributes.items() >= {
        **kafka, "messaging.operation.type": "process", "milepost.task.id": task, "milepost.tenant": "default",
        "milepost.task.type": "traced.loop", "milepost.task.attempt": 2, "milepost.task.came_by": "push",
        "milepost.task.outcome": "succeeded", "tests.seen": True,
    }.items()  # fmt: skip
    assert ingested.attributes["messaging.operation.type"] == "process"
    # The first attempt: failed, with its exception; sent by the api; the second is linked to it, and to the submission.
    first = one(spans, "process traced.loop", milepost__task__attempt=1)
    assert [s.service for s in above(spans, first)] == ["milepost-worker"] * 2 + ["milepost-api"] * 2
    assert (first.failed, first.said, first.attributes["error.type"]) == (True, "nobody was there", "LookupError")
    ((name, exception),) = first.events
    assert (name, exception["exception.type"]) == ("exception", "LookupError")
    assert "_step" in exception["exception.stacktrace"]
    assert first.links == {(trace, request.id)}
    assert second.links == {(trace, request.id), (trace, first.id)}
    assert not second.failed
    # What the handler made by itself, and what became of each attempt.
    for attempt in (first, second):
        (step,) = [s for s in spans if s.name == "look something up" and s.parent == attempt.id]
        (asked,) = [s for s in spans if s.name == "ask somebody" and s.parent == step.id]
        assert asked.attributes == {
            "tests.attempt": attempt.attributes["milepost.task.attempt"],
            "milepost.task.id": task,
            "milepost.tenant": "default",
        }
        assert [s.kind for s in spans if s.name == "UPDATE milepost.tasks" and s.parent == attempt.id] == ["CLIENT"]
    assert one(spans, f"send {completions}").parent == second.id


async def test_a_task_whose_hint_was_lost_is_in_its_trace_all_the_same(
    system: System, deaf_api: str, receiver: Receiver
) -> None:
    task, trace = await submit(system, "traced.thread", url=deaf_api)
    async with system.client() as client:
        await client.run(task).result()
    names = ["POST /v1/tasks", *["process traced.thread", "look something up", "UPDATE milepost.tasks"] * 2]
    spans = await all_there(receiver, trace, names)
    run = one(spans, "process traced.thread", milepost__task__attempt=1)
    assert [s.name for s in above(spans, run)] == ["process traced.thread", "POST /v1/tasks"]
    # A worker that has just had all its slots taken looks by turns; both read Postgres.
    assert run.attributes["milepost.task.came_by"] in {"steal", "turn"}
    assert run.attributes["messaging.system"] == "postgresql"
    assert run.links == {(trace, one(spans, "POST /v1/tasks").id)}
    assert not [s for s in spans if s.name.startswith("poll ") and s.began < run.ended]
    assert {"look something up", "UPDATE milepost.tasks"} <= {s.name for s in spans if s.parent == run.id}


async def test_spans_of_a_handler_in_a_process_are_under_its_attempt(system: System, receiver: Receiver) -> None:
    task, trace = await submit(system, "traced.process")
    async with system.client() as client:
        await client.run(task).result()
    names = ["process traced.process", "look something up", "ask somebody"]
    spans = await all_there(receiver, trace, names * 2)
    run = one(spans, names[0], milepost__task__attempt=1)
    (step,) = [s for s in spans if s.name == names[1] and s.parent == run.id]
    (asked,) = [s for s in spans if s.name == names[2] and s.parent == step.id]
    assert (asked.service, asked.attributes["milepost.task.id"]) == ("milepost-worker", task)


async def test_attempts_may_be_traces_of_their_own_that_link_to_the_submission(
    system: System, apart: str, receiver: Receiver
) -> None:
    task, trace = await submit(system, "traced.loop", queue=apart)
    async with system.client() as client:
        async for event in client.run(task).watch():
            assert event.traceparent is None or event.traceparent[3:35] == trace

    def attempts() -> dict[int, Seen]:
        of_task = [s for s in receiver.spans if s.attributes.get("milepost.task.id") == task]
        return {s.attributes["milepost.task.attempt"]: s for s in of_task if s.name == "process traced.loop"}

    async def both() -> bool:
        return len(attempts()) == 2

    await eventually(both, "both attempts", 30.0)
    # What was told of it is in the submission's trace, up to the frame; no attempt is.
    events = f"{system.settings.topic_prefix}.events"
    spans = await all_there(receiver, trace, ["POST /v1/tasks", f"process {events}", "send frame succeeded"])
    assert not [span for span in spans if span.name == "process traced.loop"]
    assert [s.name for s in above(spans, one(spans, "send frame succeeded"))][1:] == [
        f"process {events}", "POST /v1/tasks",
    ]  # fmt: skip
    request = one(spans, "POST /v1/tasks")
    first, second = attempts()[1], attempts()[2]
    assert len({trace, first.trace, second.trace}) == 3
    assert (first.parent, second.parent) == ("", "")
    assert first.links == {(trace, request.id)}
    assert second.links == {(trace, request.id), (first.trace, first.id)}
    for attempt in (first, second):
        own = await all_there(receiver, attempt.trace, ["look something up", "UPDATE milepost.tasks"])
        assert {"look something up", "UPDATE milepost.tasks"} <= {s.name for s in own if s.parent == attempt.id}


async def test_tasks_of_a_batch_share_the_spans_of_what_was_done_for_all_of_them(
    system: System, receiver: Receiver
) -> None:
    trace, count = uuid.uuid4().hex, 20
    headers = {"Authorization": f"Bearer {system.key}", "traceparent": f"00-{trace}-{BROWSER}-01"}
    body = {"tasks": [{"type": "traced.loop", "payload": {"fail": 1}}] * count}
    url = f"{system.url}/v1/tasks/batch"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        tasks = [row["task"]["id"] for row in (await response.json())["results"]]
    async with system.client() as client:
        for task in tasks:
            await client.run(task).result()
    completions = f"{system.settings.topic_prefix}.completions"
    spans = await all_there(
        receiver,
        trace,
        [*["process traced.loop"] * 2 * count, *[f"send {completions}"] * count, "POST /v1/tasks/batch"],
    )
    request = one(spans, "POST /v1/tasks/batch")
    inserts = [span for span in spans if span.name == "INSERT milepost.tasks"]
    assert sum(span.attributes.get("db.operation.batch.size", 1) for span in inserts) >= count
    work = f"{system.settings.topic_prefix}.work.default"
    sends = [s for s in spans if s.name == f"send {work}" and (s.service, s.parent) == ("milepost-api", request.id)]
    assert 0 < sum(span.attributes.get("messaging.batch.message_count", 1) for span in sends) <= count
    assert len(inserts) + len(sends) < count
    for attempt in (span for span in spans if span.name == "process traced.loop"):
        assert above(spans, attempt)[-1] == request


@pytest.mark.skipif(not OTELCOL.exists(), reason="needs the Collector: make collector")
async def test_the_collector_keeps_what_failed_and_leaves_out_what_did_not(system: System, receiver: Receiver) -> None:
    dull, failed = await submit(system, "traced.loop", fail=0), await submit(system, "traced.loop")
    async with system.client() as client:
        for task, _ in (dull, failed):
            await client.run(task).result()
    await all_there(receiver, failed[1], ["process traced.loop"] * 2)
    assert receiver.of(dull[1]) == []


async def test_pages_may_send_what_traces_go_by(system: System) -> None:
    asked = {"Origin": system.url, "Access-Control-Request-Method": "POST"}
    names = "authorization,content-type,traceparent,tracestate,baggage"
    async with aiohttp.ClientSession() as session:
        for url in (f"{system.url}/v1/tasks", f"{system.notifier_urls[0]}/v1/events"):
            async with session.options(url, headers={**asked, "Access-Control-Request-Headers": names}) as response:
                allowed = {name.strip().lower() for name in response.headers["Access-Control-Allow-Headers"].split(",")}
                assert {"traceparent", "tracestate", "baggage"} <= allowed
