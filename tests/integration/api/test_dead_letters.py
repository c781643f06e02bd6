"""/v1/dead-letters: looking at what failed, and replaying it."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from pydantic import SecretStr

from milepost.client import Run
from milepost.runtime.settings import Settings
from milepost.store import Store
from milepost_schemas import TaskState
from tests.conftest import MakeSettings, eventually
from tests.integration.api.serving import KEY, Api, run, served
from tests.system import opened_store, running

pytestmark = pytest.mark.stack

PATH = "/v1/dead-letters"


def _error(message: str, fingerprint: str) -> str:
    return f'{{"type": "ValueError", "message": "{message}", "retryable": true, "fingerprint": "{fingerprint}"}}'


async def _failed(api: Api, store: Store, fingerprint: str, count: int = 1, **options: Any) -> list[str]:
    """Make tasks that failed; return their ids, the oldest first."""
    ids = []
    for number in range(count):
        task = (await api.submit(**options)).json["id"]
        await run(store, task, TaskState.FAILED, error=_error(f"number {number}", fingerprint))
        ids.append(task)
    return ids


async def _states(store: Store, ids: list[str]) -> list[str]:
    rows = await store.get_many([("default", UUID(id_)) for id_ in ids])
    return [row["state"] for row in rows if row is not None]


async def _pages(api: Api, path: str) -> list[Any]:
    """Return the items of all pages; the path has a query."""
    items: list[Any] = []
    cursor = ""
    while True:
        page = (await api.get(path + cursor)).json
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


async def test_failures_are_listed_in_groups_page_by_page(api: Api, store: Store) -> None:
    first = await _failed(api, store, "1111111111111111", 3)
    second = await _failed(api, store, "1111111111111112", 2)
    whole = await _pages(api, f"{PATH}?limit=200")
    assert whole == await _pages(api, f"{PATH}?limit=1")
    groups = {group["fingerprint"]: group for group in whole}
    group = groups["1111111111111111"]
    assert (group["kind"], group["type"], group["count"], group["count_is_minimum"]) == ("task", "demo.count", 3, False)
    assert (group["newest"], group["oldest"]) == (first[-1], first[0])
    assert group["error"]["message"] == "number 2"
    assert groups["1111111111111112"]["count"] == len(second)
    members = await _pages(api, f"{PATH}/groups/1111111111111111?limit=2")
    assert [member["id"] for member in members] == first[::-1]


async def test_a_failed_task_is_shown_with_its_attempts(api: Api, store: Store) -> None:
    (task,) = await _failed(api, store, "2222222222222222")
    letter = (await api.get(f"{PATH}/{task}")).json
    assert (letter["kind"], letter["fingerprint"], letter["task"]["state"]) == ("task", "2222222222222222", "failed")
    assert [(one["outcome"], one["epoch"]) for one in letter["attempts"]] == [("failed", 1)]


async def test_a_dry_run_says_what_it_would_be_and_changes_nothing(api: Api, store: Store) -> None:
    ids = await _failed(api, store, "3333333333333333", 3)
    asked = {"fingerprint": "3333333333333333", "dry_run": True, "rate": 5}
    answer = (await api.post(f"{PATH}/replay", json=asked)).json
    assert (answer["count"], answer["ids"], answer["more"], answer["dry_run"]) == (3, ids, False, True)
    part = (await api.post(f"{PATH}/replay", json={**asked, "limit": 2})).json
    assert (part["count"], part["more"]) == (2, True)
    assert await _states(store, ids) == ["failed"] * 3
    (group,) = [g for g in (await api.get(f"{PATH}?limit=200")).json["items"] if g["fingerprint"] == "3" * 16]
    assert group["count"] == 3


async def test_a_replay_takes_all_that_match_part_by_part_and_nothing_twice(api: Api, store: Store) -> None:
    ids = await _failed(api, store, "4444444444444444", 5)
    other = await _failed(api, store, "4444444444444445")
    asked: dict[str, Any] = {"fingerprint": "4444444444444444", "limit": 2, "replay": str(uuids.uuid7())}
    taken: list[str] = []
    more = True
    while more:
        answer = (await api.post(f"{PATH}/replay", json=asked)).json
        taken += answer["ids"]
        more = answer["more"]
    assert sorted(taken) == sorted(ids)
    assert await _states(store, ids + other) == ["queued"] * 5 + ["failed"]
    assert (await api.post(f"{PATH}/replay", json=asked)).json["count"] == 0
    assert (await api.get(f"{PATH}/{ids[0]}")).status == 404


async def test_one_is_replayed_by_its_id(api: Api, store: Store) -> None:
    one, two = await _failed(api, store, "5555555555555555", 2)
    answer = (await api.post(f"{PATH}/replay", json={"ids": [one, str(uuids.uuid7())]})).json
    assert (answer["count"], answer["ids"]) == (1, [one])
    assert await _states(store, [one, two]) == ["queued", "failed"]


async def test_another_tenant_sees_and_replays_nothing(api: Api, store: Store, settings: Settings) -> None:
    (task,) = await _failed(api, store, "6666666666666666")
    theirs = settings.model_copy(update={"tenant": "other", "api_key": SecretStr(KEY)})
    async with served(theirs) as other:
        assert (await other.get(PATH)).json == {"items": [], "next": None}
        assert (await other.get(f"{PATH}/groups/6666666666666666")).json["items"] == []
        assert (await other.get(f"{PATH}/{task}")).status == 404
        for which in ({"all": True}, {"ids": [task]}, {"fingerprint": "6666666666666666"}, {"type": "demo.count"}):
            for dry in (True, False):
                answer = await other.post(f"{PATH}/replay", json={**which, "dry_run": dry})
                assert (answer.status, answer.json["count"]) == (200, 0)
    cursor = (await api.get(f"{PATH}?limit=1")).json["next"]
    async with served(theirs) as other:
        assert (await other.get(f"{PATH}?limit=1&cursor={cursor}")).status == 422
    assert await _states(store, [task]) == ["failed"]


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"dry_run": True}, {"ids": []}, {"ids": ["x"]}, {"fingerprint": "x"}, {"all": True, "rate": 0},
        {"all": True, "rate": -1}, {"all": True, "limit": 5001}, {"all": True, "state": "failed"},
        {"all": True, "kind": "record", "rate": 1}, {"all": True, "kind": "both"}, [], {"type": "a b"},
        {"failed_from": "yesterday"},
    ],
    ids=str,
)  # fmt: skip
async def test_a_replay_that_does_not_say_which_or_how_is_refused(api: Api, asked: Any) -> None:
    answer = await api.post(f"{PATH}/replay", json=asked)
    assert (answer.status, answer.kind) == (422, "invalid-request")
    assert answer.json["errors"]


@pytest.mark.parametrize("query", ["kind=x", "limit=0", "cursor=x", "fingerprint=x", "type=a%20b"])
async def test_queries_that_cannot_be_used_are_refused(api: Api, query: str) -> None:
    answer = await api.get(f"{PATH}?{query}")
    assert (answer.status, answer.kind) == (422, "invalid-request")


@pytest.mark.parametrize("fingerprint", ["%00", "%ff", "x", "0123456789ABCDEF", "0" * 17])
async def test_what_is_no_fingerprint_is_refused(api: Api, fingerprint: str) -> None:
    answer = await api.get(f"{PATH}/groups/{fingerprint}")
    assert (answer.status, answer.kind) == (422, "invalid-request")
    assert answer.json["errors"][0]["path"] == "/fingerprint"


async def test_a_replay_at_a_rate_goes_on_when_the_api_is_killed_and_loses_and_doubles_nothing(
    fresh: MakeSettings, tmp_path: Path
) -> None:
    count, rate = 60, 20.0
    gate = tmp_path / "gate"
    async with (
        running(await fresh(), notifiers=0) as system,
        opened_store(system.settings) as store,
        system.client() as client,
    ):
        batch = [{"type": "test.fail_until", "payload": {"path": str(gate)}} for _ in range(count)]
        ids = [task.id for task in await client.submit_batch(batch) if isinstance(task, Run)]

        async def all_failed() -> bool:
            return [group.count async for group in client.dead_letters.groups()] == [count]

        await eventually(all_failed, "every task to fail")
        gate.touch()
        how: dict[str, Any] = {"all": True, "rate": rate, "limit": 20, "replay": uuids.uuid7()}
        first = await client.dead_letters.replay(**how)
        assert (first.count, first.more) == (20, True)
        # Killed while it is at the next part: whether that was committed, nobody knows. The client repeats it.
        cut = asyncio.create_task(client.dead_letters.replay(**how))
        await asyncio.sleep(0)
        system.api.kill()
        await system.api.wait()
        await system.api.start()
        part = await cut
        while part.more:
            part = await client.dead_letters.replay(**how)

        async def rows() -> list[Any]:
            return [row for row in await store.get_many([("default", id_) for id_ in ids]) if row is not None]

        async def all_done() -> bool:
            return [row["state"] for row in await rows()] == ["succeeded"] * count

        await eventually(all_done, "every task to succeed in its second life", 30)
        for id_ in ids:
            assert [one.outcome for one in await client.attempts(id_)] == ["succeeded", "failed"]
        due = sorted(row["due_at"] for row in await rows())
        assert (due[-1] - due[0]).total_seconds() > (count - 1) / rate - 0.01
