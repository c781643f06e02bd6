"""Watch tokens: how they are given, and that they open nothing of the API."""

import re
import time
from typing import Any
from uuid import UUID

import jwt
import pytest

from milepost.domain.feed_filter import Filter
from milepost.domain.grant import Grant
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import Tokens, Verified
from tests.integration.api.serving import Api, published
from tests.integration.api.test_refusals import KEYED

TASK = "01890000-0000-7000-8000-000000000001"
FOR_WATCHERS = {
    "/v1/tickets",
    "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6",
    "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/result",
    "/v1/tasks/01a206cf-0715-75c4-8497-4ed4eee0dbe6/children",
}
ACCEPTED, TOKEN = published("accepted-task"), published("watch-token")


def read(settings: Settings, token: str) -> Verified:
    verified = Tokens.of(settings).verify(token)
    assert verified is not None
    return verified


async def test_a_submission_comes_with_a_token_for_its_task(api: Api, settings: Settings) -> None:
    answer = await api.submit()
    assert answer.status == 202
    ACCEPTED.validate(answer.json)
    verified = read(settings, answer.json["watch_token"])
    assert verified.grant == Grant(task=UUID(answer.json["id"]))
    assert verified.tenant == settings.tenant
    assert 890 < verified.lasts <= 900


async def test_a_repeated_submission_comes_with_a_fresh_token(api: Api, settings: Settings) -> None:
    headers = {"Idempotency-Key": "watch-again"}
    first, second = [(await api.submit(headers=headers)).json for _ in range(2)]
    assert first["id"] == second["id"]
    assert first["watch_token"] != second["watch_token"]
    assert read(settings, second["watch_token"]).grant == Grant(task=UUID(first["id"]))


async def test_a_wait_that_was_too_short_comes_with_a_token_too(api: Api, settings: Settings) -> None:
    answer = await api.submit(headers={"Prefer": "wait=1"})
    assert answer.status == 202
    assert read(settings, answer.json["watch_token"]).grant.task == UUID(answer.json["id"])


async def test_a_task_as_it_is_shown_later_carries_no_token(api: Api) -> None:
    task = (await api.submit()).json["id"]
    assert "watch_token" not in (await api.get(f"/v1/tasks/{task}")).json
    assert "watch_token" not in (await api.get("/v1/tasks?limit=1")).json["items"][0]


@pytest.mark.parametrize(
    ("asked", "grant"),
    [
        ({"task": TASK}, Grant(task=UUID(TASK))),
        ({"label": {"name": "customer", "value": "42"}}, Grant(label=("customer", "42"))),
        ({"feed": "tasks"}, Grant(feed=True)),
        ({"feed": "tasks", "filter": {"type": "t"}}, Grant(feed=True, filter=Filter(type="t"))),
    ],
)
async def test_a_token_covers_what_was_asked_for(
    api: Api, settings: Settings, asked: dict[str, Any], grant: Grant
) -> None:
    answer = await api.post("/v1/watch-tokens", json={**asked, "ttl": 60})
    assert answer.status == 201
    TOKEN.validate(answer.json)
    assert answer.headers["Cache-Control"] == "no-store"
    verified = read(settings, answer.json["token"])
    assert verified.grant == grant
    assert 55 < verified.lasts <= 60
    said = jwt.decode(answer.json["token"], options={"verify_signature": False})
    assert (said["iss"], said["aud"], said["sub"]) == ("milepost", "milepost.stream", settings.tenant)
    assert abs(said["iat"] - time.time()) < 10


@pytest.mark.parametrize(
    "asked",
    [
        {},
        [],
        {"task": TASK, "feed": "tasks"},
        {"task": "every"},
        {"feed": "all"},
        {"task": TASK, "filter": {"type": "t"}},
        {"feed": "tasks", "filter": {"state": "queued"}},
        {"label": "a=b"},
        {"label": {"name": "a", "value": "b\n"}},
        {"task": TASK, "ttl": 0},
        {"task": TASK, "ttl": 3601},
        {"task": TASK, "tenant": "other"},
        {"task": TASK, "sub": "other"},
        {"task": TASK, "exp": 2**40},
    ],
    ids=str,
)
async def test_anything_else_is_refused_and_explained(api: Api, asked: Any) -> None:
    answer = await api.post("/v1/watch-tokens", json=asked)
    assert answer.status == 422
    assert "Nothing was made" in answer.json["detail"]
    assert answer.json["errors"]


async def test_nobody_gets_a_token_without_a_key(api: Api) -> None:
    assert (await api.post("/v1/watch-tokens", json={"task": TASK}, key=None)).status == 401
    assert (await api.post("/v1/watch-tokens", json={"task": TASK}, key="wrong")).status == 401


@pytest.mark.parametrize(("method", "path"), [row for row in KEYED if row[1].partition("?")[0] not in FOR_WATCHERS])
async def test_a_watch_token_opens_nothing_of_the_api(api: Api, method: str, path: str) -> None:
    submitted = (await api.submit()).json
    path = re.sub("[0-9a-f-]{36}", submitted["id"], path)
    options = {"json": {"task": submitted["id"], "ttl": 3600}} if method == "POST" else {}
    answer = await api.call(method, path, key=submitted["watch_token"], **options)
    assert (answer.status, answer.kind) == (403, "forbidden")
    assert "watch token" in answer.json["detail"]
    assert (await api.get(f"/v1/tasks/{submitted['id']}")).json["state"] == "queued"


async def test_an_expired_token_says_so_and_a_forged_one_does_not(api: Api, settings: Settings) -> None:
    grant = Grant(task=UUID(TASK))
    expired, _ = Tokens.of(settings).sign("default", grant, 60, now=time.time() - 100)
    answer = await api.get("/v1/tasks", key=expired)
    assert (answer.status, "expired" in answer.json["detail"]) == (401, True)
    forged, _ = Tokens([b"x" * 32]).sign("default", grant, 60)
    answer = await api.get("/v1/tasks", key=forged)
    assert (answer.status, "expired" in answer.json["detail"]) == (401, False)


async def _token(api: Api, **asked: Any) -> str:
    return str((await api.post("/v1/watch-tokens", json=asked)).json["token"])


async def _submitted(api: Api, **options: Any) -> str:
    return str((await api.submit("demo.free", {}, **options)).json["id"])


async def test_what_a_token_covers_can_be_read_where_there_is_no_stream(api: Api, foreign: str) -> None:
    root = await _submitted(api, labels={"customer": "42"})
    mine = await _submitted(api, parent_id=root)
    below = await _submitted(api, parent_id=await _submitted(api, parent_id=mine))
    sister = await _submitted(api, parent_id=await _submitted(api, parent_id=root))
    stranger = await _submitted(api)

    async def statuses(token: str) -> list[int]:
        ids = (root, mine, below, sister, stranger, foreign, TASK)
        paths = [f"/v1/tasks/{task}" for task in ids]
        found = [(await api.get(path, key=token)).status for path in paths]
        # Of none of them there is a result yet.
        results = [(await api.get(f"{path}/result", key=token)).status for path in paths]
        assert results == [409 if status == 200 else status for status in found]
        return found

    assert await statuses(await _token(api, task=mine)) == [403, 200, 200, 403, 403, 403, 403]
    assert await statuses(await _token(api, task=root)) == [200, 200, 200, 200, 403, 403, 403]
    assert await statuses(await _token(api, task=foreign)) == [403, 403, 403, 403, 403, 404, 403]
    assert await statuses(await _token(api, label={"name": "customer", "value": "42"})) == [200, *[403] * 6]
    assert await statuses(await _token(api, feed="tasks")) == [403] * 7
    assert await statuses(api.key) == [200, 200, 200, 200, 200, 404, 404]


async def test_lists_are_narrowed_to_what_a_token_covers(api: Api) -> None:
    one = await _submitted(api, labels={"customer": "narrow", "other": "x"})
    two = await _submitted(api, labels={"customer": "narrow"})
    label = await _token(api, label={"name": "customer", "value": "narrow"})

    async def ids(query: str, token: str) -> list[str] | int:
        answer = await api.get(f"/v1/tasks{query}", key=token)
        return [item["id"] for item in answer.json["items"]] if answer.status == 200 else answer.status

    assert await ids("", label) == [two, one]
    assert await ids("?label=other%3Dx", label) == [one]
    assert await ids("?label=customer%3Dnarrow", label) == [two, one]
    assert await ids("?label=customer%3Dothers", label) == 403
    assert await ids("?limit=2", await _token(api, feed="tasks")) == [two, one]
    some = await _token(api, feed="tasks", filter={"type": "demo.free", "labels": {"other": "x", "customer": "narrow"}})
    assert await ids("", some) == [one]
    assert await ids("?type=demo.count", some) == 403
    assert await ids("", await _token(api, feed="tasks", filter={"parent": one})) == []
    assert await ids("", await _token(api, feed="tasks", filter={"root": one})) == [one]
    assert await ids(f"?root={two}", await _token(api, feed="tasks", filter={"root": one})) == 403
    assert await ids("", await _token(api, task=one)) == 403
    below = await _submitted(api, parent_id=one)
    token = await _token(api, task=one)
    assert await ids(f"?root={one}", token) == [below, one]
    assert await ids(f"?parent={one}&type=demo.free", token) == [below]
    assert await ids(f"?root={two}", token) == 403
    assert await ids(f"/{one}/children", token) == [below]
    assert await ids(f"/{two}/children", token) == 403
    assert await ids(f"/{one}/children", label) == [], "it has not the label that is covered"
    first = await api.get("/v1/tasks?limit=1", key=label)
    cursor = first.json["next"]
    assert await ids(f"?limit=1&cursor={cursor}", label) == [one]
    assert await ids(f"?limit=1&cursor={cursor}", api.key) == 422, "a cursor belongs to the list it was given for"
