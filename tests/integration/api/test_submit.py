"""POST /v1/tasks."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest
import uuid_utils.compat as uuids

from milepost.store import Filters, Store
from milepost_schemas import TaskState, TypeInfo
from tests.integration.api.serving import Accepts, Api, run, without_token

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_task_is_accepted_with_the_defaults_of_its_type(api: Api, store: Store) -> None:
    answer = await api.submit(labels={"team": "a"}, key="k", priority="high")
    assert answer.status == 202
    task = answer.json
    assert answer.headers["Location"] == f"/v1/tasks/{task['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert UUID(task["id"]).version == 7
    wanted = {"state": "queued", "queue": "counting", "max_attempts": 4, "priority": "high", "labels": {"team": "a"}}
    assert wanted.items() <= task.items()
    assert task["links"]["stream"] == "wss://stream.example/v1/stream"
    row = await store.get("default", UUID(task["id"]))
    assert row is not None
    assert (row["timeout_s"], row["key"], orjson.loads(row["payload"])) == (60.0, "k", {"to": 3})
    assert (await api.get(task["links"]["self"])).json == without_token(task)


async def test_what_the_caller_says_wins_over_the_type(api: Api, store: Store) -> None:
    task = (await api.submit(queue="other", max_attempts=9, timeout=5, expires_in=100, total_timeout=200)).json
    row = await store.get("default", UUID(task["id"]))
    assert row is not None
    assert (row["queue"], row["max_attempts"], row["timeout_s"]) == ("other", 9, 5.0)
    assert row["expires_at"] - row["created_at"] == timedelta(seconds=100)
    assert row["deadline_at"] - row["created_at"] == timedelta(seconds=200)


async def test_a_task_that_could_never_start_is_refused(api: Api) -> None:
    answer = await api.submit(delay=60, expires_in=30)
    assert answer.status == 422
    assert "could never start" in str(answer.json)


async def test_a_delayed_task_is_scheduled(api: Api) -> None:
    delayed = (await api.submit(delay=3600)).json
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    planned = (await api.submit(run_at=at)).json
    assert delayed["state"] == planned["state"] == "scheduled"
    assert datetime.fromisoformat(planned["due_at"]) == datetime.fromisoformat(at)


async def test_the_task_joins_the_callers_trace(api: Api) -> None:
    answer = await api.submit(headers={"traceparent": TRACE})
    assert answer.json["trace_id"] == TRACE[3:35]
    other = await api.submit(headers={"traceparent": "00-xyz"})
    assert other.json["trace_id"] not in {None, TRACE[3:35]}


async def test_a_child_belongs_to_the_root_of_its_parent(api: Api) -> None:
    root = (await api.submit()).json
    child = (await api.submit(parent_id=root["id"])).json
    grandchild = (await api.submit(parent_id=child["id"])).json
    assert (grandchild["parent_id"], grandchild["root_id"]) == (child["id"], root["id"])


async def test_a_parent_that_is_not_the_callers_is_refused(api: Api, foreign: str) -> None:
    for parent in (str(uuids.uuid7()), foreign):
        answer = await api.submit(parent_id=parent)
        assert (answer.status, answer.kind) == (422, "invalid-request")
        assert answer.json["errors"] == [{"path": "/parent_id", "message": "no such task"}]


async def test_the_same_key_and_body_find_the_same_task(api: Api) -> None:
    headers = {"Idempotency-Key": "order 17"}
    first = await api.submit(headers=headers)
    assert "Idempotent-Replayed" not in first.headers
    again = await api.raw(b'{ "payload": {"to": 3.0e0}, "type": "demo.count"}', **headers)
    assert again.kind == "idempotency-key-reused"
    again = await api.raw(b'{ "payload": {"to": 3}, "type": "demo.count"}', **headers)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert without_token(again.json) == without_token(first.json)


async def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "order 18"}
    first = await api.submit(headers=headers)
    other = await api.submit(payload={"to": 4}, headers=headers)
    assert (other.status, other.kind) == (422, "idempotency-key-reused")
    assert first.json["id"] in other.json["detail"]


async def test_a_key_of_a_finished_task_answers_200(api: Api, store: Store) -> None:
    headers = {"Idempotency-Key": "order 19"}
    task = (await api.submit(headers=headers)).json
    await run(store, task["id"], TaskState.SUCCEEDED, result='{"count": 3}')
    again = await api.submit(headers=headers)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json["result"] == {"count": 3}


async def test_twenty_equal_requests_at_once_make_one_task(api: Api, store: Store) -> None:
    headers = {"Idempotency-Key": "at once"}
    answers = await asyncio.gather(*(api.submit(labels={"once": "yes"}, headers=headers) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(await store.find("default", Filters(labels={"once": "yes"}))) == 1


@pytest.mark.parametrize("key", ["", "a" * 256, "tab\there", "é"])
async def test_a_key_that_is_not_printable_ascii_is_refused(api: Api, key: str) -> None:
    answer = await api.submit(headers={"Idempotency-Key": key})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "/idempotency_key")


async def test_prefer_wait_answers_with_the_finished_task(api: Api, store: Store) -> None:
    headers = {"Idempotency-Key": "waited for"}
    task = (await api.submit(headers=headers)).json
    waiting = asyncio.create_task(api.submit(headers=headers | {"Prefer": "wait=30"}))
    await run(store, task["id"], TaskState.SUCCEEDED, result="3")
    answer = await waiting
    assert (answer.status, answer.json["state"], answer.json["result"]) == (200, "succeeded", 3)


async def test_prefer_wait_gives_up_in_time(api: Api) -> None:
    answer = await api.submit(headers={"Prefer": "respond-async, wait=1"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "wait=1")
    assert answer.json["state"] == "queued"


async def test_a_type_nobody_announced_is_refused_with_close_names(api: Api) -> None:
    answer = await api.submit(type_="demo.cuont")
    assert (answer.status, answer.kind) == (422, "unknown-type")
    assert "demo.count" in answer.json["detail"]


async def test_a_type_is_known_as_soon_as_a_worker_announced_it(
    api: Api, store: Store, eventually_accepts: Accepts
) -> None:
    await store.announce([TypeInfo(type="demo.new", queue="default", max_attempts=1)])
    await eventually_accepts(lambda: api.submit(type_="demo.new", payload={}))


async def test_a_payload_that_does_not_fit_is_refused_row_by_row(api: Api) -> None:
    answer = await api.submit(payload={"to": -1, "note": "secret" * 100, "more": 1})
    assert (answer.status, answer.kind) == (422, "invalid-payload")
    assert {row["path"] for row in answer.json["errors"]} == {"/payload/to", "/payload/note", "/payload"}
    assert b"secret" not in answer.content


async def test_rows_of_findings_are_bounded(api: Api) -> None:
    answer = await api.submit(labels={f"bad name {'x' * 500} {n}": "\x01" for n in range(32)})
    assert answer.status == 422
    assert len(answer.json["errors"]) == 20
    assert len(answer.content) < 20_000


async def test_members_of_the_server_cannot_be_set(api: Api) -> None:
    for name in ("id", "state", "epoch", "tenant", "attempt", "root_id", "created_at"):
        answer = await api.post("/v1/tasks", json={"type": "demo.free", name: 1})
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, f"/{name}")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "malformed-json"),
        (b"{", 400, "malformed-json"),
        (b'{"type": "demo.free", "payload": {"x": NaN}}', 400, "malformed-json"),
        (b'{"type": "demo.free", "payload": {"x": -Infinity}}', 400, "malformed-json"),
        (b'{"type": "demo.free", "payload": {"x": 1, "x": 2}}', 400, "malformed-json"),
        (b'{"type": "demo.free", "type": "demo.count"}', 400, "malformed-json"),
        (b'{"type": "demo.free", "payload": {"x": "\xff"}}', 400, "malformed-json"),
        (b'{"type": "demo.free", "payload": {"x": "\\u0000"}}', 422, "invalid-request"),
        (b'{"type": "demo.free", "payload": {"\\u0000": 1}}', 422, "invalid-request"),
        (b'{"type": "demo.free", "payload": {"x": "\\ud800"}}', 422, "invalid-request"),
        (b'{"type": "demo.free", "payload": {"x": 123456789012345678901}}', 422, "invalid-request"),
        (b'{"type": "demo.free", "payload": {"x": ' + b"[" * 63 + b"]" * 63 + b"}}", 422, "invalid-request"),
        (b'{"type": "demo.free", "payload": {"x": ' + b"[" * 9000 + b"]" * 9000 + b"}}", 422, "invalid-request"),
        (b"[]", 422, "invalid-request"),
        (b"null", 422, "invalid-request"),
        (b'{"type": "demo.free", "payload": []}', 422, "invalid-request"),
        (b'{"type": "demo.free", "run_at": "0001-01-01T00:00:00+23:00"}', 422, "invalid-request"),
        (b'{"type": "demo.free", "run_at": "2026-01-01T00:00:00"}', 422, "invalid-request"),
        (b'{"type": "demo.free", "delay": 1, "run_at": "2026-01-01T00:00:00Z"}', 422, "invalid-request"),
        (b'{"payload": {}}', 422, "invalid-request"),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused(api: Api, body: bytes, status: int, kind: str) -> None:
    answer = await api.raw(body)
    assert (answer.status, answer.kind) == (status, kind)


async def test_depth_and_escapes_within_the_limits_are_taken(api: Api) -> None:
    deep = (
        b'{"type": "demo.free", "payload": {"x": "\\\\u0000 \\ud83d\\ude00 a:b", "y": ' + b"[" * 60 + b"]" * 60 + b"}}"
    )
    assert (await api.raw(deep)).status == 202
