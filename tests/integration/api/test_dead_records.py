"""Records nobody could read: from their topic to Postgres, looked at, and sent again."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import uuid_utils.compat as uuids

from milepost.log import Reader, Topics, Writer, ensure_topics
from milepost.log.deadletters import put_aside
from milepost.log.reader import Consumed
from milepost.log.writer import LARGEST, Record
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from milepost.store import Store, migrate
from milepost.store.deadletters import DeadLetters
from tests.conftest import API_KEY, MakeSettings, eventually
from tests.integration.api.serving import FREE, Api, served
from tests.integration.store.conftest import new_task
from tests.system import opened_store

pytestmark = pytest.mark.stack

PATH = "/v1/dead-letters"


class Place(NamedTuple):
    """An API with Kafka, and both ends of its topics."""

    api: Api
    settings: Settings
    store: Store
    writer: Writer
    topics: Topics
    events: Reader


@pytest.fixture(scope="module")
async def place(fresh: MakeSettings) -> AsyncIterator[Place]:
    settings = await fresh()
    await migrate(settings)
    await ensure_topics(settings, ["default"])
    topics = Topics(settings.topic_prefix)
    writer = Writer(settings, "test")
    reader = Reader(settings, "test", [topics.events], group=f"{topics.prefix}-test")
    async with (
        opened_store(settings) as store,
        background(("writer", writer.run)),
        reader.open() as events,
        served(settings) as api,
    ):
        api.key = API_KEY
        await store.announce([FREE])
        yield Place(api, settings, store, writer, topics, events)


async def _read(place: Place, count: int = 1) -> list[Consumed]:
    """Return the next records on the topic of events."""
    found: list[Consumed] = []

    async def enough() -> bool:
        found.extend(await place.events.read(count - len(found), 0.2))
        return len(found) >= count

    await eventually(enough, f"{count} records")
    return found


async def _put_aside(place: Place, value: bytes | None, why: str, *, key: bytes | None = b"k") -> Consumed:
    """Write what nobody can read to the topic of events, read it, and put it aside as a reader does."""

    async def written() -> bool:
        headers = [("ce_type", b"nonsense"), ("x-error", b"forged")]
        return place.writer.write(Record(place.topics.events, key, value or b"", headers))

    await eventually(written, "the writer")
    (record,) = await _read(place)
    if value is None:
        record = replace(record, value=None)
    await put_aside(place.writer, place.topics, [(record, why)])
    return record


async def _letter(place: Place, why: str) -> dict[str, Any]:
    """Wait until the record that was put aside for this reason is listed, and show it."""
    found: list[Any] = []

    async def listed() -> bool:
        groups = (await place.api.get(f"{PATH}?kind=record&limit=200")).json["items"]
        found[:] = [group for group in groups if group["error"]["message"] == why]
        return bool(found)

    await eventually(listed, f"{why} in the list")
    shown: dict[str, Any] = (await place.api.get(f"{PATH}/{found[0]['newest']}")).json
    return shown


async def test_a_record_nobody_could_read_is_listed_and_shown_as_it_was(place: Place) -> None:
    record = await _put_aside(place, b"{\x00garbage\xff", "no JSON at all")
    letter = await _letter(place, "no JSON at all")
    assert letter["origin"] == {
        "topic": place.topics.events, "partition": record.partition, "offset": record.offset
    }  # fmt: skip
    assert base64.b64decode(letter["record"]["value"]) == b"{\x00garbage\xff"
    assert base64.b64decode(letter["record"]["key"]) == b"k"
    assert {h["name"]: base64.b64decode(h["value"]) for h in letter["record"]["headers"]} == {"ce_type": b"nonsense"}
    assert (letter["record"]["cut"], letter["replayed_at"]) == (False, None)


async def test_a_record_that_is_put_aside_twice_is_listed_once(place: Place) -> None:
    record = await _put_aside(place, b"twice", "put aside twice")
    await put_aside(place.writer, place.topics, [(record, "put aside twice")])
    await _put_aside(place, b"after", "after twice")
    await _letter(place, "after twice")
    letter = await _letter(place, "put aside twice")
    members = (await place.api.get(f"{PATH}/groups/{letter['fingerprint']}?kind=record")).json["items"]
    assert [member["id"] for member in members] == [letter["id"]]


async def test_a_replayed_record_goes_to_where_it_came_from_as_it_was_and_leaves_the_list(place: Place) -> None:
    await _put_aside(place, b"original \x00 bytes", "to be sent again")
    letter = await _letter(place, "to be sent again")
    asked = {"kind": "record", "ids": [letter["id"]]}
    dry = (await place.api.post(f"{PATH}/replay", json={**asked, "dry_run": True})).json
    assert (dry["count"], dry["ids"]) == (1, [letter["id"]])
    done = (await place.api.post(f"{PATH}/replay", json=asked)).json
    assert (done["count"], done["refused"]) == (1, [])
    (again,) = await _read(place)
    assert (again.key, again.value, list(again.headers)) == (b"k", b"original \x00 bytes", [("ce_type", b"nonsense")])
    assert (await place.api.post(f"{PATH}/replay", json=asked)).json["count"] == 0
    assert (await place.api.get(f"{PATH}/{letter['id']}")).json["replayed_at"] is not None
    assert (await place.api.get(f"{PATH}/groups/{letter['fingerprint']}?kind=record")).json["items"] == []


async def test_what_cannot_be_sent_again_says_why(place: Place) -> None:
    await _put_aside(place, b"x" * (LARGEST - 300), "too large to keep")
    await _put_aside(place, None, "had no value")
    foreign = [("x-origin-topic", b"somebody.elses"), ("x-origin-partition", b"0"), ("x-origin-offset", b"7")]
    for headers, said in ((foreign, b"of another topic"), ([], b"says nothing of its origin")):
        place.writer.write(Record(place.topics.dead_letters, None, b"\xff", [*headers, ("x-error", said)]))
    expected = {
        "too large to keep": "Only the beginning",
        "had no value": "no value",
        "of another topic": "somebody.elses",
        "says nothing of its origin": place.topics.dead_letters,
    }
    for why, reason in expected.items():
        letter = await _letter(place, why)
        answer = (await place.api.post(f"{PATH}/replay", json={"kind": "record", "ids": [letter["id"]]})).json
        assert answer["count"] == 0
        assert reason in answer["refused"][0]["reason"]


async def test_a_record_belongs_to_a_tenant_only_if_the_task_it_names_does(place: Place) -> None:
    mine, theirs = new_task(), new_task(tenant="other")
    await place.store.submit([mine, theirs])
    for name, task in (("is mine", mine.id), ("is anothers", theirs.id), ("is nobodys", uuids.uuid7())):
        await _put_aside(place, b'{"task": "%s", "tenant": "default"}' % str(task).encode(), name)
        await _letter(place, name)
    store = DeadLetters(place.store._pool)
    for tenant, seen in (("default", {"is mine"}), ("other", set())):
        rows = await store.record_groups(tenant, "", 100, None, operator=False)
        assert {row["error"] for row in rows} == seen
    rows = await store.record_groups("default", "", 100, None, operator=True)
    assert {"is mine", "is anothers", "is nobodys"} <= {row["error"] for row in rows}
    (nobodys,) = [row["newest"] for row in rows if row["error"] == "is nobodys"]
    assert await store.record("default", nobodys, operator=False) is None
    fingerprint = next(row["fingerprint"] for row in rows if row["error"] == "is nobodys")
    assert await store.record_members("default", fingerprint, None, 10, operator=False) == []


async def test_records_wait_in_kafka_while_postgres_is_away(place: Place) -> None:
    pool: Any = place.store._pool
    await pool.execute("alter table milepost.dead_records rename to dead_records_away")
    try:
        await _put_aside(place, b"late", "while Postgres was away")
    finally:
        await pool.execute("alter table milepost.dead_records_away rename to dead_records")
    await _letter(place, "while Postgres was away")


async def test_only_the_newest_records_are_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await _put_aside(place, b"%d" % number, f"kept {'abc'[number]}")
        await _letter(place, f"kept {'abc'[number]}")
    monkeypatch.setattr("milepost.store.deadletters.RECORDS_KEPT", 2)
    await _put_aside(place, b"last", "kept last")
    await _letter(place, "kept last")
    errors = {row["error"] for row in await place.store._pool.fetch("select error from milepost.dead_records")}
    assert errors == {"kept b", "kept c", "kept last"}


async def test_paging_goes_from_tasks_over_to_records(place: Place) -> None:
    await place.store._pool.execute(
        "update milepost.tasks set state = 'failed', finished_at = now(), error = null where tenant = 'default'"
    )
    whole = (await place.api.get(PATH)).json["items"]
    kinds = [group["kind"] for group in whole]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"task", "record"}
    seen: list[Any] = []
    cursor = ""
    while True:
        page = (await place.api.get(f"{PATH}?limit=1{cursor}")).json
        seen += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == whole
