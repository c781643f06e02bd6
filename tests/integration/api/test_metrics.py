"""GET /metrics of the api: for whom it is, and what it says of Postgres."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from milepost.runtime.metrics import catalogue
from milepost.store import NewTask, Store, WorkerBeat
from milepost.store.connection import Pool
from milepost.store.queues import Queues
from milepost.store.records import Held
from milepost_api.measured import forget, show
from milepost_schemas import Priority
from tests.integration.api.keyholders import key_of, made
from tests.integration.api.serving import Api
from tests.scraping import Samples, scraped

pytestmark = pytest.mark.stack

Measure = Callable[..., Awaitable[Samples]]


@pytest.fixture
def measure(pool: Pool) -> Measure:
    """Return what the gauges say of Postgres now, at most so many rows of anything counted."""

    async def look(most: int = 10_000) -> Samples:
        show(await Queues(pool).measure("default", most))
        gauges = (
            catalogue.QUEUE_DEPTH, catalogue.QUEUE_OLDEST, catalogue.QUEUE_RUNNING, catalogue.QUEUE_WORKERS,
            catalogue.LEASE_OLDEST, catalogue.DUE_OLDEST, catalogue.OUTBOX_ROWS, catalogue.OUTBOX_OLDEST,
        )  # fmt: skip
        return Samples(family for gauge in gauges for family in gauge.collect())

    return look


async def stored(store: Store, queue: str, tenant: str, priority: Priority = Priority.NORMAL, **more: Any) -> Held:
    task = NewTask(uuids.uuid7(), tenant, "demo.free", queue, priority, 3, "{}", **more)
    await store.submit([task])
    return Held(task.id, 0)


async def test_metrics_are_for_who_operates_the_installation(api: Api) -> None:
    assert (await api.get("/metrics", key=None)).status == 401
    assert (await api.get("/metrics", key=await key_of(api, "m-other"))).kind == "forbidden"
    reader = (await made(api, scopes=["submit", "read"]))["key"]
    assert (await api.get("/metrics", key=reader)).kind == "forbidden"
    operator = (await made(api, scopes=["operate"]))["key"]
    for path in ("/metrics", "/v1/metrics"):
        answer = await api.get(path, key=operator)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert b"# TYPE milepost_http_requests_total counter" in answer.content


async def test_what_is_stored_and_answered_is_counted(api: Api) -> None:
    before = await scraped(api.url, key=api.key)
    trace = f"{uuids.uuid7().int:032x}"
    await api.submit(queue="m-counted")
    await api.post("/v1/tasks", json={"type": "demo.free", "queue": "m-counted"},
                   headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})  # fmt: skip
    for _ in range(2):  # the second finds the first
        await api.submit(queue="m-counted", headers={"Idempotency-Key": "the-same"})
    assert (await api.get("/v1/no-such-path-as-this-one", key=None)).status == 404
    assert (await api.call("PUT", "/v1/tasks")).status == 405
    after = await scraped(api.url, key=api.key)

    def more(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    posted = {"route": "/v1/tasks", "method": "POST"}
    assert more("milepost_http_requests_total", **posted, status_class="2xx") == 4
    assert more("milepost_http_request_duration_seconds_count", **posted) == 4
    assert more("milepost_http_requests_total", route="unmatched", status_class="4xx") == 2
    assert more("milepost_submitted_total", queue="m-counted") == 3
    assert "no-such-path" not in "".join(str(sample) for sample in after.samples)
    assert ("milepost_http_request_duration_seconds_bucket", trace) in after.exemplars


async def test_what_waits_is_told_by_queue_lane_and_class_of_tenant(measure: Measure, store: Store) -> None:
    for tenant, priority in (
        ("default", Priority.NORMAL), ("default", Priority.NORMAL), ("default", Priority.HIGH),
        ("aaa", Priority.NORMAL), ("zzz", Priority.NORMAL), ("zzz", Priority.LOW),
    ):  # fmt: skip
        await stored(store, "m-waiting", tenant, priority)
    await stored(store, "m-waiting", "default", delay=600.0)
    found = await measure()
    assert {key[1:]: number for key, number in found.by("milepost_queue_depth", "queue", "lane", "tenant_class").items()
            if key[0] == "m-waiting"} == {
        ("normal", "own"): 2, ("high", "own"): 1, ("normal", "other"): 2, ("low", "other"): 1,
    }  # fmt: skip
    assert found.sum("milepost_queue_depth", queue="m-none") == 0


async def test_more_than_are_counted_are_not_and_the_oldest_is_known_all_the_same(
    measure: Measure, store: Store, pool: Pool
) -> None:
    for number in range(5):
        await stored(store, "m-long", "aaa" if number % 2 else "zzz")
    # The last by tenant: so not among the first that are counted.
    await pool.execute(
        "update milepost.tasks set queued_at = now() - interval '1 hour' where id = "
        "(select id from milepost.tasks where queue = 'm-long' and tenant = 'zzz' order by id desc limit 1)"
    )
    found = await measure(2)
    assert found.sum("milepost_queue_depth", queue="m-long") == 2
    assert 3600 <= found.sum("milepost_queue_oldest_age_seconds", queue="m-long") < 3700


async def test_what_nobody_sees_to_is_told(measure: Measure, store: Store, pool: Pool) -> None:
    worker = UUID(int=0xA7)
    await store.beat(WorkerBeat(worker, "w", "h", 1, "1", ["m-served"], ["demo.free"], 4, 1, draining=False))
    await store.claim(worker, -100.0, [await stored(store, "m-served", "default")])
    late = await stored(store, "m-served", "default", delay=600.0)
    await pool.execute("update milepost.tasks set due_at = now() - interval '70 seconds' where id = $1", late.id)
    await pool.execute("truncate milepost.outbox")
    await pool.execute(
        "insert into milepost.outbox (task_id, epoch, created_at) values ($1, 1, now() - interval '50 seconds')",
        late.id,
    )
    found = await measure()
    assert found.sum("milepost_queue_running", queue="m-served") == 1
    assert found.sum("milepost_queue_workers", queue="m-served") == 1
    assert 100 <= found.sum("milepost_lease_overdue_seconds") < 200
    assert 70 <= found.sum("milepost_due_oldest_age_seconds") < 170
    assert found.sum("milepost_outbox_rows") == 1
    assert 50 <= found.sum("milepost_outbox_oldest_age_seconds") < 150
    await pool.execute("truncate milepost.outbox")
    await pool.execute(
        "update milepost.tasks set state = 'failed', finished_at = now(), lease_until = null where queue = 'm-served'"
    )
    assert (await measure()).sum("milepost_outbox_oldest_age_seconds") == 0


async def test_while_postgres_is_away_nothing_is_said_of_it(measure: Measure) -> None:
    assert (await measure()).samples
    forget()
    for gauge in (catalogue.QUEUE_DEPTH, catalogue.OUTBOX_ROWS, catalogue.LEASE_OLDEST):
        assert list(gauge.collect()) == []


async def test_the_page_is_the_same_for_readers_of_the_older_format(api: Api) -> None:
    old, new = await scraped(api.url, key=api.key, accept=None), await scraped(api.url, key=api.key)
    ours = [{s.name for s in samples.samples if s.name.startswith("milepost_")} for samples in (old, new)]
    assert ours[0] == ours[1]
