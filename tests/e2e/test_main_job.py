"""The main job, end to end, seen by those who use it."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from milepost.client import Client, Run, RunEvent
from milepost.errors import Refused, TaskFailed
from milepost_schemas import Completion, Event, Position
from milepost_schemas.cloudevents import decode, header
from milepost_schemas.task import TaskState
from tests.conftest import eventually
from tests.system import System, opened_store

pytestmark = pytest.mark.stack


async def watched(run: Run) -> list[RunEvent]:
    return [event async for event in run.watch()]


def check_order(events: list[RunEvent]) -> None:
    """Positions only grow, and within an epoch no event is missing unless a snapshot said so."""
    for before, after in pairwise(events):
        assert after.at > before.at or after.kind == "snapshot" or after.last, (before, after)


async def started(run: Run) -> RunEvent:
    """Wait until somebody reports progress of a task."""
    async for event in run.watch():
        if event.task.progress is not None:
            return event
    raise AssertionError("the task ended before it reported progress")


async def test_progress_is_seen_from_start_to_end_and_the_result_read_back(client: Client) -> None:
    run = await client.submit("demo.count", {"to": 6, "delay": 0.1})
    events = await watched(run)
    check_order(events)
    assert events[0].kind == "snapshot"
    assert events[-1].kind == "succeeded"
    done = [event.task.progress.done for event in events if event.task.progress is not None]
    assert done == sorted(done)
    assert done[-1] == 6
    assert len(set(done)) >= 3
    assert await run.result() == {"count": 6}
    assert (await run.refresh()).state is TaskState.SUCCEEDED


@pytest.mark.parametrize("type_", ["test.gate", "test.thread_gate", "test.process_gate"])
async def test_handlers_run_on_the_loop_in_threads_and_in_processes(client: Client, tmp_path: Path, type_: str) -> None:
    gate = tmp_path / "gate"
    run = await client.submit(type_, {"path": str(gate)})
    watching = asyncio.ensure_future(watched(run))
    gate.touch()
    assert (await watching)[-1].kind == "succeeded"


@pytest.mark.parametrize("type_", ["test.gate", "test.thread_gate", "test.process_gate"])
async def test_a_running_task_is_cancelled(client: Client, tmp_path: Path, type_: str) -> None:
    run = await client.submit(type_, {"path": str(tmp_path / "never")})

    async def runs() -> bool:
        return (await run.refresh()).state is TaskState.RUNNING

    await eventually(runs, "the task to run")
    await run.cancel()
    assert (await watched(run))[-1].kind == "cancelled"
    assert (await run.refresh()).attempt == 1


async def test_a_task_of_the_future_is_cancelled_at_once(client: Client) -> None:
    run = await client.submit("demo.echo", {}, delay=3600)
    assert run.task.state is TaskState.SCHEDULED
    assert (await run.cancel()).state is TaskState.CANCELLED
    assert (await watched(run))[-1].kind == "cancelled"
    with pytest.raises(TaskFailed, match="cancel"):
        await run.result()


async def test_a_delayed_task_runs_when_it_is_due(client: Client) -> None:
    run = await client.submit("demo.echo", {"a": 1}, delay=0.3)
    assert run.task.state is TaskState.SCHEDULED
    assert await run.result(timeout=15) == {"a": 1}


async def test_failed_attempts_are_retried_and_told(client: Client) -> None:
    run = await client.submit("demo.fail", {"times": 1, "message": "not yet"}, max_attempts=2)
    events = await watched(run)
    check_order(events)
    assert events[-1].kind == "succeeded"
    assert await run.result() == {"attempt": 2}


@pytest.mark.parametrize(
    ("type_", "payload", "error", "words"),
    [
        ("test.permanent", {"words": "bad\x7fname ✓"}, "Permanent", "✓"),
        ("test.exit", {}, "Crashed", "exited with status 7"),
        ("test.daemon", {}, "Crashed", "exited with status 9"),
        ("test.sys_exit", {}, "SystemExit", "3"),
        ("test.timeout", {}, "Timeout", "0.2 s"),
        ("test.unserialisable", {}, "InvalidResult", "JSON"),
        ("demo.allocate", {"mib": 900}, "OutOfMemory", "512 MiB"),
        ("demo.fail", {"times": 1, "message": "x"}, "RuntimeError", "x"),
    ],
)
async def test_a_failure_says_what_it_was(
    client: Client, type_: str, payload: dict[str, Any], error: str, words: str
) -> None:
    run = await client.submit(type_, payload, max_attempts=1)
    with pytest.raises(TaskFailed) as failure:
        await run.result(timeout=30)
    assert words in str(failure.value)
    task = await run.refresh()
    assert task.state is TaskState.FAILED
    assert task.attempt == 1
    assert task.error is not None
    assert task.error.type == error


async def test_the_last_progress_of_a_thread_is_shown(client: Client) -> None:
    run = await client.submit("test.thread_count", {})
    last = (await watched(run))[-1].task.progress
    assert last is not None
    assert last.done == 100


async def test_progress_that_cannot_be_shown_harms_nobody(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = await client.submit("test.hostile_progress", {"path": str(gate)})
    shown = await started(run)
    assert shown.task.progress is not None
    assert shown.task.progress.done == 1
    gate.touch()
    assert (await watched(run))[-1].kind == "succeeded"


async def test_a_handler_that_asks_for_another_attempt_gets_it(client: Client) -> None:
    run = await client.submit("test.retry_after", {})
    assert await run.result(timeout=20) == 3


async def test_a_result_too_large_for_a_frame_is_read_from_the_api(client: Client) -> None:
    run = await client.submit("test.large", {"size": 300_000})
    assert len(await run.result(timeout=20)) == 300_000
    assert (await run.refresh()).result is None


async def test_a_task_that_is_over_shows_its_end_to_whoever_comes_late(client: Client) -> None:
    run = await client.submit("demo.echo", {"a": 1})
    await run.result()
    late = await watched(client.run(run.id))
    assert late[-1].kind == "succeeded"
    assert late[-1].task.result == {"a": 1}


async def test_two_watchers_see_the_same_end(system: System, client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = await client.submit("test.gate", {"path": str(gate), "steps": 5})
    async with system.client() as other:
        both = asyncio.gather(watched(run), watched(other.run(run.id)))
        await started(run)
        gate.touch()
        one, two = await both
    assert one[-1].task.model_dump(exclude={"links"}) == two[-1].task.model_dump(exclude={"links"})


async def test_the_same_key_gives_the_same_task(client: Client) -> None:
    one = await client.submit("demo.echo", {"n": 1}, idempotency_key="same")
    two = await client.submit("demo.echo", {"n": 1}, idempotency_key="same")
    assert one.id == two.id
    with pytest.raises(Refused, match=r"(?i)idempotency"):
        await client.submit("demo.echo", {"n": 2}, idempotency_key="same")


async def test_a_batch_is_taken_one_by_one(client: Client) -> None:
    rows: list[dict[str, Any]] = [{"type": "demo.echo", "payload": {"n": n}} for n in range(50)]
    rows[7] = {"type": "no.such"}
    runs = await client.submit_batch(rows)
    assert isinstance(runs[7], Refused)
    results = await asyncio.gather(*(run.result(timeout=30) for run in runs if isinstance(run, Run)))
    assert results == [{"n": n} for n in range(50) if n != 7]


async def _read(system: System, topic: str, wanted: str, last: str | None = None) -> list[Any]:
    """Read a topic from its start until a record about the task `wanted` came, and one with the id `last`."""
    consumer: Any = AIOKafkaConsumer(
        f"{system.settings.topic_prefix}.{topic}",
        bootstrap_servers=system.settings.kafka_bootstrap,
        auto_offset_reset="earliest",
    )
    found: list[Any] = []
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            while not found or last not in {None, *(header(r.headers, "ce_id") for r in found)}:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [r for r in records if header(r.headers, "ce_subject") == wanted]
    finally:
        await consumer.stop()
    return found


async def test_one_trace_leads_from_the_request_to_the_frame_and_the_completion(system: System, client: Client) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with aiohttp.ClientSession() as session:
        response = await session.post(
            f"{system.url}/v1/tasks",
            json={"type": "demo.count", "payload": {"to": 3, "delay": 0.1}},
            headers={"Authorization": f"Bearer {system.key}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )
        task = await response.json()
    assert task["trace_id"] == trace
    events = await watched(client.run(task["id"]))
    assert {event.traceparent[3:35] for event in events if event.traceparent} == {trace}
    (record,) = await _read(system, "completions", task["id"])
    traceparent = header(record.headers, "traceparent")
    assert traceparent is not None
    assert traceparent[3:35] == trace


async def test_other_services_get_one_completion_for_each_end(system: System, client: Client) -> None:
    run = await client.submit("demo.count", {"to": 1, "delay": 0}, labels={"team": "red"})
    await run.result()
    (record,) = await _read(system, "completions", str(run.id))
    completion = decode(Completion, record.value, record.headers)
    assert completion.id == header(record.headers, "ce_id")
    assert completion.state == "succeeded"
    assert completion.result == {"count": 1}
    assert completion.labels == {"team": "red"}
    async with opened_store(system.settings) as store:

        async def empty() -> bool:
            return await store.take_outbox(0, 10, hold_s=0) == []

        await eventually(empty, "the outbox to be empty once Kafka has everything")


@pytest.mark.parametrize(("to", "delay"), [(10, 0.05), (0, 0.0)])
async def test_events_are_numbered_without_gap_or_double(system: System, client: Client, to: int, delay: float) -> None:
    run = await client.submit("demo.count", {"to": to, "delay": delay})
    last = (await watched(run))[-1].at
    records = await _read(system, "events", str(run.id), f"{run.id}:{last.epoch}:{last.seq}")
    events = [decode(Event, record.value, record.headers) for record in records]
    assert events[0].at == Position(0, 0)
    numbers = [n for event in events[1:] for n in range(event.at.seq - event.merged, event.at.seq + 1)]
    assert numbers == list(range(last.seq + 1))
    assert {event.at.epoch for event in events[1:]} == {1}


async def test_garbage_on_every_topic_is_put_aside_and_work_goes_on(system: System, client: Client) -> None:
    from aiokafka import AIOKafkaProducer

    prefix = system.settings.topic_prefix
    producer: Any = AIOKafkaProducer(bootstrap_servers=system.settings.kafka_bootstrap)
    await producer.start()
    garbage = [b"", b"\xff\xfe", b"{", b"null", b"[]", orjson.dumps({"task": "x"}), b"9" * 100_000]
    try:
        for topic in ("work.default", "work.default.high", "events", "completions", "control"):
            for value in garbage:
                await producer.send_and_wait(f"{prefix}.{topic}", value, headers=[("ce_type", b"\xff")])
                kind = {"e": b"dev.milepost.event.v1", "c": b"dev.milepost.cancel-request.v1"}.get(topic[0])
                await producer.send_and_wait(
                    f"{prefix}.{topic}", value, headers=[("ce_type", kind or b"dev.milepost.dispatch.v1")]
                )
    finally:
        await producer.stop()
    runs = [await client.submit("demo.count", {"to": 2, "delay": 0.05}) for _ in range(8)]
    for run in runs:
        assert (await watched(run))[-1].kind == "succeeded"
    consumer: Any = AIOKafkaConsumer(
        f"{prefix}.dead-letters", bootstrap_servers=system.settings.kafka_bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        origins: list[str | None] = []
        async with asyncio.timeout(20):
            while len(origins) < 3 * 2 * len(garbage):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    origins += [header(record.headers, "x-origin-topic") for record in records]
    finally:
        await consumer.stop()
    assert set(origins) == {f"{prefix}.work.default", f"{prefix}.work.default.high", f"{prefix}.events"}
    assert all(process.running for process in system.processes)


async def test_a_forged_hint_starts_nothing(system: System, client: Client) -> None:
    """A dispatch record for a task that is scheduled, or under another epoch, is skipped."""
    from aiokafka import AIOKafkaProducer

    from milepost_schemas import Dispatch
    from milepost_schemas.cloudevents import headers_of

    run = await client.submit("demo.echo", {}, delay=3600)
    producer: Any = AIOKafkaProducer(bootstrap_servers=system.settings.kafka_bootstrap)
    await producer.start()
    try:
        for epoch in (0, 1, 7):
            forged = Dispatch(task=run.id, tenant="default", type="demo.echo", epoch=epoch)
            headers = headers_of(Dispatch, identity="x", source="/x", subject=str(run.id), traceparent=None)
            topic = f"{system.settings.topic_prefix}.work.default"
            await producer.send_and_wait(topic, forged.model_dump_json().encode(), key=run.id.bytes, headers=headers)
    finally:
        await producer.stop()
    await (await client.submit("demo.echo", {})).result()
    assert (await run.refresh()).state is TaskState.SCHEDULED
    await run.cancel()
