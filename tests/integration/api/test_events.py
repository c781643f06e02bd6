"""GET /v1/tasks/{id}/events: the live history, or what Postgres knows."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from milepost.live import Snapshots, connect
from milepost.runtime.settings import Settings
from milepost.store import Finish, Retry, Store
from milepost.store.records import Held
from milepost_schemas import Event, EventKind, Position, TaskState
from tests.integration.api.serving import Api

pytestmark = pytest.mark.stack

WORKER = UUID(int=0xA2)


async def test_without_a_live_history_runs_and_ends_are_told(api: Api, store: Store) -> None:
    task = UUID((await api.submit()).json["id"])
    (claimed,) = await store.claim(WORKER, 15.0, [Held(task, 0)])
    error = '{"type": "E", "message": "m", "retryable": true}'
    await store.retry([Retry(claimed.held, 1, 0.0, error)])
    await store.due(100)
    (again,) = await store.claim(WORKER, 15.0, [Held(task, 2)])
    await store.finish([Finish(again.held, 4, TaskState.SUCCEEDED, result="1")])
    answer = (await api.get(f"/v1/tasks/{task}/events")).json
    assert answer["source"] == "store"
    assert [item["kind"] for item in answer["items"]] == ["queued", "started", "retrying", "started", "succeeded"]
    assert [item["at"] for item in answer["items"]][1::2] == [[1, 0], [3, 0]]
    assert answer["items"][2]["data"]["error"]["type"] == "E"


async def test_the_live_history_is_shown_while_it_is_kept(api: Api, settings: Settings) -> None:
    shown = (await api.submit()).json
    task = UUID(shown["id"])
    redis = connect(settings)
    try:
        snapshots = Snapshots(redis)
        whole = {name: value for name, value in shown.items() if name not in {"links", "watch_token"}}
        events = [
            Event(task=task, tenant="default", root=task, at=Position(0, 0), kind=EventKind.QUEUED,
                  time=datetime.now(UTC), data=whole),
            Event(task=task, tenant="default", root=task, at=Position(1, 0), kind=EventKind.STARTED,
                  time=datetime.now(UTC), data=whole | {"state": "running", "epoch": 1, "attempt": 1}),
            Event(task=task, tenant="default", root=task, at=Position(1, 1), kind=EventKind.PROGRESS,
                  time=datetime.now(UTC), data={"progress": {"done": 1}}),
        ]  # fmt: skip
        await snapshots.apply(events)
    finally:
        await redis.aclose()
    answer = (await api.get(f"/v1/tasks/{task}/events")).json
    assert answer["source"] == "history"
    assert [(item["kind"], item["at"]) for item in answer["items"]] == [
        ("queued", [0, 0]),
        ("started", [1, 0]),
        ("progress", [1, 1]),
    ]
    assert answer["items"][2]["data"]["progress"] == {"done": 1}


async def test_a_task_that_never_ran_was_queued_and_perhaps_cancelled(api: Api) -> None:
    task = (await api.submit(delay=3600)).json["id"]
    await api.post(f"/v1/tasks/{task}/cancel")
    items = (await api.get(f"/v1/tasks/{task}/events")).json["items"]
    assert [item["kind"] for item in items] == ["scheduled", "cancelled"]


async def test_another_tenants_events_are_nobodys_business(api: Api, foreign: str) -> None:
    answer = await api.get(f"/v1/tasks/{foreign}/events")
    assert (answer.status, answer.kind) == (404, "not-found")
