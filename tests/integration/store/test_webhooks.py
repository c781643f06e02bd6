"""Deliveries: noted with the end they tell of, taken by one, written once."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids

from milepost.domain.delivering import DISABLE_FAILURES, GIVE_UP_S
from milepost.domain.states import TRANSITIONS
from milepost.store import Finish, GivenUp, Held, Release, Retry
from milepost.store.cancellations import Cancellations
from milepost.store.connection import Pool
from milepost.store.deadletters import DeadLetters
from milepost.store.store import sql
from milepost.store.webhooks import AWAY_FAILURES, IN_ORDER, Delivery, Settled, Span, Webhooks
from milepost_schemas.task import TaskState
from tests.integration.store.conftest import WORKER, new_task

pytestmark = pytest.mark.stack

HOLD = 30.0
SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGVzZSB0ZXN0cyBpcyAzMiBieXRlcw=="
TERMINAL = {state for state in TaskState if state.terminal}


@pytest.fixture
async def hooks(pool: Pool) -> Webhooks:
    await pool.execute(
        "truncate milepost.tasks, milepost.attempts, milepost.outbox, milepost.workers, milepost.webhooks,"
        " milepost.deliveries, milepost.delivery_attempts, milepost.cancellations"
    )
    return Webhooks(pool)


async def _hook(hooks: Webhooks, tenant: str = "default", **options: Any) -> UUID:
    filters: dict[str, Any] = {"description": None, "types": None, "states": None, "labels": None}
    row = await hooks.add_webhook(tenant, uuids.uuid7(), "https://example.com/hook", SECRET, **(filters | options))
    assert row is not None
    identity: UUID = row["id"]
    return identity


async def _take(hooks: Webhooks, limit: int = 100, of_webhook: int = 8, of_tenant: int = 32) -> list[Delivery]:
    return await hooks.take_deliveries(limit, HOLD, of_webhook=of_webhook, of_tenant=of_tenant)


def _settled(delivery: Delivery, state: str = "delivered", **options: Any) -> Settled:
    values: dict[str, Any] = {"delay": None, "status": 200, "error": None, "seconds": 0.1, "answer": None}
    values["url"] = delivery.url
    if state != "delivered":
        values |= {"status": 500, "error": "The receiver answered 500."}
    if state == "pending":
        values["delay"] = 10.0
    return Settled(delivery.id, delivery.attempt, state, **(values | options))


async def _submitted(hooks: Webhooks, **options: Any) -> Held:
    task = new_task(**options)
    await hooks.submit([task])
    return Held(task.id, 0)


async def _claimed(hooks: Webhooks, **options: Any) -> Held:
    (claimed,) = await hooks.claim(WORKER, 60, [await _submitted(hooks, **options)])
    return claimed.held


async def _ended(hooks: Webhooks, state: TaskState = TaskState.SUCCEEDED, **options: Any) -> Held:
    held = await _claimed(hooks, **options)
    assert (await hooks.finish([Finish(held, 1, state)]))[0] is not None
    return held


# -- no end is forgotten


async def _finish(state: TaskState, hooks: Webhooks, _: Pool) -> None:
    await _ended(hooks, state)


async def _retry_after_cancel(hooks: Webhooks, pool: Pool) -> None:
    held = await _claimed(hooks)
    await hooks.cancel("default", held.id)
    await hooks.retry([Retry(held, 1, 0.0, '{"type": "X", "message": "m"}')])
    del pool


async def _release_after_cancel(hooks: Webhooks, pool: Pool) -> None:
    held = await _claimed(hooks)
    await hooks.cancel("default", held.id)
    await hooks.release([Release(held, 1)])
    del pool


async def _expire(column: str, hooks: Webhooks, pool: Pool) -> None:
    await _submitted(hooks, delay=None if column == "queued" else 60.0, expires_in=3600.0)
    await pool.execute("update milepost.tasks set expires_at = now() - interval '1 second'")
    assert len(await hooks.expire(10)) == 1


async def _cancel(delay: float | None, hooks: Webhooks, pool: Pool) -> None:
    held = await _submitted(hooks, delay=delay)
    outcome = await hooks.cancel("default", held.id)
    assert outcome is not None
    assert outcome.moved
    del pool


async def _cancel_waiting(hooks: Webhooks, pool: Pool) -> None:
    held = await _claimed(hooks)
    await pool.execute("alter table milepost.tasks disable trigger guard")
    await pool.execute("update milepost.tasks set state = 'waiting'")
    await pool.execute("alter table milepost.tasks enable trigger guard")
    await hooks.cancel("default", held.id)


async def _cancel_below(hooks: Webhooks, pool: Pool) -> None:
    parent = await _submitted(hooks, type="t.parent")
    await _submitted(hooks, parent_id=parent.id)
    rows = await Cancellations(pool).cancel_children("default", [(parent.id, UUID(int=0))], 10)
    assert [row["found"] for row in rows] == ["ended"]


async def _sweep(hooks: Webhooks, pool: Pool, *, cancelled: bool = False, given_up: bool = False) -> None:
    held = await _claimed(hooks, max_attempts=1)
    if cancelled:
        await hooks.cancel("default", held.id)
    if given_up:
        await hooks.abandon([GivenUp(held, '{"type": "X", "message": "m"}', counts=True)])
    await pool.execute("update milepost.tasks set lease_until = now() - interval '1 second'")
    assert len(await hooks.sweep(10)) == 1


Ends = Callable[[Webhooks, Pool], Awaitable[None]]
S = TaskState
WAYS: list[tuple[str, str, TaskState, TaskState, Ends]] = [
    *(
        ("finish", "finish", S.RUNNING, state, lambda h, p, state=state: _finish(state, h, p))
        for state in sorted(TERMINAL)
    ),
    ("retry", "finish", S.RUNNING, S.CANCELLED, _retry_after_cancel),
    ("release", "finish", S.RUNNING, S.CANCELLED, _release_after_cancel),
    ("expire", "expire", S.QUEUED, S.FAILED, lambda h, p: _expire("queued", h, p)),
    ("expire", "expire", S.SCHEDULED, S.FAILED, lambda h, p: _expire("scheduled", h, p)),
    ("cancel", "cancel", S.QUEUED, S.CANCELLED, lambda h, p: _cancel(None, h, p)),
    ("cancel", "cancel", S.SCHEDULED, S.CANCELLED, lambda h, p: _cancel(60.0, h, p)),
    ("cancel", "cancel", S.WAITING, S.CANCELLED, _cancel_waiting),
    ("cancel_children", "cancel", S.QUEUED, S.CANCELLED, _cancel_below),
    ("sweep", "sweep", S.RUNNING, S.FAILED, _sweep),
    ("sweep", "sweep", S.RUNNING, S.FAILED, lambda h, p: _sweep(h, p, given_up=True)),
    ("sweep", "sweep", S.RUNNING, S.CANCELLED, lambda h, p: _sweep(h, p, cancelled=True)),
]
"""File of SQL, name of the transition, source, target, and how to bring it about."""


@pytest.mark.parametrize(("file", "move", "source", "target", "end"), WAYS)
async def test_each_way_to_end_notes_a_delivery(
    hooks: Webhooks, pool: Pool, file: str, move: str, source: TaskState, target: TaskState, end: Ends
) -> None:
    del file, move, source
    webhook = await _hook(hooks, types=["t.x"])
    await _hook(hooks, tenant="other")
    await end(hooks, pool)
    (delivery,) = await _take(hooks)
    assert delivery.webhook_id == webhook
    assert delivery.row is not None
    assert delivery.row["state"] == target


def test_no_transition_into_an_end_and_no_statement_that_makes_one_is_left_out_above() -> None:
    made = {(move, source, target) for _, move, source, target, _ in WAYS}
    assert made == {(t.name, t.source, t.target) for t in TRANSITIONS if t.target.terminal}
    texts = {
        entry.name.removesuffix(".sql"): entry.read_text()
        for entry in files("milepost.store").joinpath("sql").iterdir()
    }
    says = re.compile(r"^-- \w+: [\w| ()]+ -> ([\w| ]+?)(?:,|$)", re.MULTILINE)
    ending = {
        name
        for name, text in texts.items()
        if any(word.strip() in TERMINAL for match in says.finditer(text) for word in match[1].split("|"))
    }
    assert ending == {file for file, *_ in WAYS}
    assert all("insert into milepost.outbox" in texts[name] for name in ending)


async def test_a_task_that_ends_once_more_is_told_once_more(hooks: Webhooks, pool: Pool) -> None:
    await _hook(hooks)
    first = await _ended(hooks, TaskState.FAILED)
    (row,) = await DeadLetters(pool).replay("default", [first.id], uuids.uuid7())
    (claimed,) = await hooks.claim(WORKER, 60, [Held(row["id"], row["epoch"])])
    await hooks.finish([Finish(claimed.held, 1, TaskState.SUCCEEDED, result="1")])
    told = {d.row["epoch"]: d.row["state"] for d in await _take(hooks) if d.row is not None}
    assert told == {first.epoch: "failed", claimed.held.epoch: "succeeded"}


async def test_an_end_that_does_not_happen_is_not_told(hooks: Webhooks, pool: Pool) -> None:
    await _hook(hooks)
    held = await _claimed(hooks)
    async with pool.acquire() as connection:
        under_way = connection.transaction()
        await under_way.start()
        await Webhooks(connection).finish([Finish(held, 1, TaskState.SUCCEEDED)])  # type: ignore[arg-type]
        await under_way.rollback()
    assert await _take(hooks) == []
    await hooks.finish([Finish(Held(held.id, 7), 1, TaskState.SUCCEEDED)])
    assert await _take(hooks) == []


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({}, True), ({"types": ["t.x"]}, True), ({"types": ["t.y"]}, False), ({"types": ["t.y", "t.x"]}, True),
        ({"states": ["failed", "cancelled"]}, False), ({"states": ["succeeded"]}, True),
        ({"labels": {"team": "red"}}, True), ({"labels": {"team": "blue"}}, False),
        ({"labels": {"team": "red", "more": "x"}}, False), ({"labels": {}}, True),
        ({"types": ["t.x"], "states": ["succeeded"], "labels": {"team": "red"}}, True),
        ({"types": ["t.x"], "states": ["failed"], "labels": {"team": "red"}}, False),
    ],
    ids=str,
)  # fmt: skip
async def test_filters_say_what_is_told(hooks: Webhooks, filters: dict[str, Any], told: bool) -> None:
    await _hook(hooks, **filters)
    await _ended(hooks, labels='{"team": "red", "size": "big"}')
    assert len(await _take(hooks)) == told


async def test_a_tenant_is_told_of_its_own_tasks_only(hooks: Webhooks) -> None:
    ours, theirs = await _hook(hooks), await _hook(hooks, tenant="other")
    await _ended(hooks, tenant="other")
    assert [delivery.webhook_id for delivery in await _take(hooks)] == [theirs]
    await _ended(hooks)
    assert [delivery.webhook_id for delivery in await _take(hooks)] == [ours]


async def test_what_ends_while_a_webhook_is_disabled_is_in_its_log_and_sent_when_it_is_replayed(
    hooks: Webhooks,
) -> None:
    webhook = await _hook(hooks, types=["t.x"])
    await hooks.change_webhook("default", webhook, ["enabled"], enabled=False)
    held = await _ended(hooks)
    await _ended(hooks, type="t.y")
    assert await _take(hooks) == []
    (row,) = await hooks.deliveries("default", webhook, "failed", None, 10)
    assert (row["task_id"], row["attempt"], row["status"], row["error"]) == (
        held.id, 0, None, "The webhook was disabled when the task ended. Nothing was sent.",
    )  # fmt: skip
    assert row["ended_at"] is not None
    await hooks.change_webhook("default", webhook, ["enabled"], enabled=True)
    assert await _take(hooks) == []
    await _ended(hooks)
    (after,) = await _take(hooks)
    assert after.id != row["id"]
    assert await hooks.replay_span("default", webhook, Span("failed"), 10) == ([row["id"]], None)
    (once_more,) = await _take(hooks)
    assert (once_more.id, once_more.attempt, once_more.tries) == (row["id"], 1, 1)


async def test_deleted_webhooks_are_told_nothing(hooks: Webhooks, pool: Pool) -> None:
    await _hook(hooks, tenant="other")
    webhook = await _hook(hooks)
    await _ended(hooks)
    assert await hooks.delete_webhook("default", webhook)
    assert await _take(hooks) == [], "what waited for it is not sent either"
    await _ended(hooks)
    assert await pool.fetchval("select count(*) from milepost.deliveries") == 1


# -- taking


async def test_a_delivery_is_taken_by_one_and_again_when_its_time_is_over(hooks: Webhooks, pool: Pool) -> None:
    await _hook(hooks)
    for _ in range(20):
        await _ended(hooks)
    parts = await asyncio.gather(*(_take(hooks, limit=5) for _ in range(6)))
    taken = [delivery.id for part in parts for delivery in part]
    assert len(taken) == len(set(taken)) >= 8
    (first,) = parts[0][:1]
    await pool.execute("update milepost.deliveries set due_at = now() - interval '1 second' where state = 'sending'")
    again = {delivery.id: delivery for delivery in await _take(hooks)}
    assert again[first.id].attempt == 2
    assert await hooks.settle_deliveries([_settled(first)]) == [None]
    assert await hooks.settle_deliveries([_settled(again[first.id])]) != [None]
    assert await pool.fetchval("select count(*) from milepost.delivery_attempts") == 1


async def test_webhooks_take_turns_and_have_so_many_at_once(hooks: Webhooks) -> None:
    many, few = await _hook(hooks, types=["t.many"]), await _hook(hooks, types=["t.few"])
    for _ in range(20):
        await _ended(hooks, type="t.many")
    await _ended(hooks, type="t.few")
    first = await _take(hooks, limit=2)
    assert {delivery.webhook_id for delivery in first} == {many, few}
    assert len(await _take(hooks)) == 7
    assert await _take(hooks) == []
    await hooks.settle_deliveries([_settled(delivery) for delivery in first])
    assert len(await _take(hooks)) == 1


async def test_a_tenant_has_so_many_at_once(hooks: Webhooks) -> None:
    for _ in range(3):
        await _hook(hooks)
    await _hook(hooks, tenant="other")
    for _ in range(4):
        await _ended(hooks)
    await _ended(hooks, tenant="other")
    assert len(await _take(hooks, of_tenant=5)) == 6
    assert await _take(hooks, of_tenant=5) == []


async def test_a_webhook_that_fails_has_one_at_once(hooks: Webhooks) -> None:
    await _hook(hooks)
    for _ in range(5):
        await _ended(hooks)
    (one, *_) = await _take(hooks, limit=1)
    await hooks.settle_deliveries([_settled(one, "pending")])
    (two,) = await _take(hooks)
    await hooks.settle_deliveries([_settled(two)])
    assert len(await _take(hooks)) == 3


async def test_the_day_of_tries_begins_with_the_first_of_them(hooks: Webhooks, pool: Pool) -> None:
    """Not when it was noted, and not when it was replayed: perhaps there was nobody then who sends."""
    webhook = await _hook(hooks)
    await _ended(hooks)
    earlier = "update milepost.deliveries set due_at = now(), begun_at = begun_at - $1 * interval '1 second'"
    await pool.execute(earlier, GIVE_UP_S)
    (one,) = await _take(hooks)
    assert one.tried_s == 0
    await hooks.settle_deliveries([_settled(one, "pending")])
    await pool.execute(earlier, 3600.0)
    (two,) = await _take(hooks)
    assert 3600 <= two.tried_s < GIVE_UP_S
    await hooks.settle_deliveries([_settled(two, "failed")])
    assert await hooks.replay_deliveries("default", webhook, [one.id]) == [one.id]
    await pool.execute(earlier, GIVE_UP_S)
    (again,) = await _take(hooks)
    assert (again.tries, again.tried_s) == (1, 0)


# -- settling


async def test_attempts_are_in_the_log(hooks: Webhooks, pool: Pool) -> None:
    webhook = await _hook(hooks)
    held = await _ended(hooks)
    (one,) = await _take(hooks)
    await hooks.settle_deliveries([_settled(one, "pending", answer="no")])
    assert await _take(hooks) == []
    await pool.execute("update milepost.deliveries set due_at = now()")
    (two,) = await _take(hooks)
    assert (two.id, two.attempt, two.tries) == (one.id, 2, 2)
    await hooks.settle_deliveries([_settled(two, status=204)])
    (row,) = await hooks.deliveries("default", webhook, None, None, 10)
    assert (row["state"], row["attempt"], row["task_id"], row["status"], row["error"]) == (
        "delivered",
        2,
        held.id,
        204,
        None,
    )
    log = await hooks.delivery_attempts("default", one.id, 10)
    assert [(each["attempt"], each["status"], each["answer"]) for each in log] == [(2, 204, None), (1, 500, "no")]
    for state in (None, "delivered"):
        assert len(await hooks.deliveries("default", webhook, state, None, 10)) == 1
        assert await hooks.deliveries("other", webhook, state, None, 10) == []
    assert await hooks.delivery("other", webhook, one.id) is None
    assert await hooks.delivery_attempts("other", one.id, 10) == []


async def _failing(hooks: Webhooks, pool: Pool, webhook: UUID, days: float, failures: int) -> None:
    await pool.execute(
        "update milepost.webhooks set failing_since = now() - $2 * interval '1 day', failures = $3 where id = $1",
        webhook, days, failures,
    )  # fmt: skip
    await _ended(hooks)
    (one,) = await _take(hooks)
    await hooks.settle_deliveries([_settled(one, "pending")])


@pytest.mark.parametrize(
    ("days", "failures", "disabled"),
    [(5.1, DISABLE_FAILURES, True), (4.9, 1000, False), (30.0, DISABLE_FAILURES - 2, False)],
)
async def test_a_webhook_that_fails_for_days_is_disabled_with_the_reason(
    hooks: Webhooks, pool: Pool, days: float, failures: int, disabled: bool
) -> None:
    webhook = await _hook(hooks)
    await _failing(hooks, pool, webhook, days, failures)
    row = await hooks.webhook("default", webhook)
    assert row is not None
    assert (row["disabled_at"] is not None) == disabled
    if disabled:
        assert re.fullmatch(
            r"Every attempt since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ failed\. The last one: The receiver answered 500\.",
            row["disabled_reason"],
        )
        await pool.execute("update milepost.deliveries set due_at = now()")
        assert await _take(hooks) == []
        row = await hooks.change_webhook("default", webhook, ["enabled"], enabled=True)
        assert row is not None
        assert (row["disabled_at"], row["disabled_reason"], row["failing_since"], row["failures"]) == (
            None,
            None,
            None,
            0,
        )
        assert len(await _take(hooks)) == 1, "what waited goes on"


async def test_a_receiver_that_is_gone_disables_its_webhook_at_once(hooks: Webhooks) -> None:
    webhook = await _hook(hooks)
    await _ended(hooks)
    (one,) = await _take(hooks)
    (written,) = await hooks.settle_deliveries([_settled(one, "failed", status=410)])
    assert written is not None
    assert written.disabled is not None
    row = await hooks.webhook("default", webhook)
    assert row is not None
    assert "410" in row["disabled_reason"]


async def test_of_errors_that_are_written_together_the_newest_is_the_webhooks(hooks: Webhooks) -> None:
    webhook = await _hook(hooks)
    for _ in range(3):
        await _ended(hooks)
    taken = await _take(hooks)
    errors = ("The receiver answered 500.", "There was no answer within 15 s.", "Nobody could be connected to.")
    await hooks.settle_deliveries([_settled(one, "pending", error=e) for one, e in zip(taken, errors, strict=True)])
    row = await hooks.webhook("default", webhook)
    assert row is not None
    assert row["last_error"] == errors[-1]


NEW_URL = "https://example.com/elsewhere"


async def _moved(hooks: Webhooks, webhook: UUID, url: str = NEW_URL) -> Any:
    row = await hooks.change_webhook("default", webhook, ["url"], url=url)
    assert row is not None
    return row


@pytest.mark.parametrize("state", ["delivered", "pending", "failed"])
async def test_what_the_url_of_before_answers_says_nothing_about_the_new_one(
    hooks: Webhooks, pool: Pool, state: str
) -> None:
    webhook = await _hook(hooks)
    await _ended(hooks)
    (one,) = await _take(hooks)
    row = await _moved(hooks, webhook)
    if state == "delivered":
        await pool.execute("update milepost.webhooks set failing_since = now(), failures = 1, last_error = 'x'")
        row = await hooks.webhook("default", webhook)
    await hooks.settle_deliveries([_settled(one, state, status=410 if state == "failed" else 500)])
    assert await hooks.webhook("default", webhook) == row
    if state != "delivered":
        # Given up there or not: here it is tried, and at once.
        (two,) = await _take(hooks)
        assert (two.id, two.url, two.attempt) == (one.id, NEW_URL, 2)


async def test_a_new_url_begins_anew(hooks: Webhooks, pool: Pool) -> None:
    webhook = await _hook(hooks)
    await _failing(hooks, pool, webhook, 4.9, 1000)
    assert await _take(hooks) == []
    url = await pool.fetchval("select url from milepost.webhooks")
    row = await _moved(hooks, webhook, url)
    assert (row["failures"], row["last_error"]) == (1001, "The receiver answered 500."), "it is no other"
    row = await _moved(hooks, webhook)
    assert (row["failing_since"], row["failures"], row["last_error"]) == (None, 0, None)
    (one,) = await _take(hooks)
    assert one.url == NEW_URL


async def test_what_waited_for_a_receiver_that_was_away_goes_when_it_answers(hooks: Webhooks, pool: Pool) -> None:
    await _hook(hooks)
    for _ in range(4):
        await _ended(hooks)
    for one in await _take(hooks):
        await hooks.settle_deliveries([_settled(one, "pending", delay=3600.0)])
    assert await _take(hooks) == []
    await pool.execute(
        "update milepost.webhooks set failing_since = now() - interval '1 hour', failures = $1", AWAY_FAILURES
    )
    await _ended(hooks)
    (probe,) = await _take(hooks)
    await hooks.settle_deliveries([_settled(probe)])
    rest = await _take(hooks)
    assert len(rest) == 4
    # One that fails once more was tried since: it waits its own time, whatever the others do.
    await hooks.settle_deliveries([_settled(one, "pending", delay=3600.0) for one in rest[:1]])
    await hooks.settle_deliveries([_settled(one) for one in rest[1:]])
    assert await _take(hooks) == []


async def test_a_short_failure_pulls_nothing_forward(hooks: Webhooks) -> None:
    await _hook(hooks)
    await _ended(hooks)
    (one,) = await _take(hooks)
    await hooks.settle_deliveries([_settled(one, "pending", delay=3600.0)])
    await _ended(hooks)
    (two,) = await _take(hooks)
    await hooks.settle_deliveries([_settled(two)])
    assert await _take(hooks) == []


# -- replaying, forgetting


async def test_a_replay_begins_the_tries_anew_and_keeps_the_log(hooks: Webhooks, pool: Pool) -> None:
    webhook = await _hook(hooks)
    await _ended(hooks)
    await _ended(hooks)
    one, two = await _take(hooks)
    await hooks.settle_deliveries([_settled(one, "failed"), _settled(two)])
    await pool.execute("update milepost.deliveries set begun_at = now() - $1 * interval '1 second'", GIVE_UP_S)
    assert await hooks.replay_span("other", webhook, Span(state="failed"), 10) == ([], None)
    assert await hooks.replay_span("default", webhook, Span(state="failed"), 10) == ([one.id], None)
    assert await hooks.replay_span("default", webhook, Span(state="failed"), 10) == ([], None)
    (again,) = await _take(hooks)
    assert (again.id, again.attempt, again.tries) == (one.id, 2, 1)
    assert again.tried_s < GIVE_UP_S / 2
    both = [one.id, two.id]
    assert await hooks.replay_deliveries("other", webhook, both) == []
    assert await hooks.replay_deliveries("default", uuids.uuid7(), both) == []
    assert await hooks.replay_deliveries("default", webhook, both, Span("failed")) == []
    assert await hooks.replay_deliveries("default", webhook, both) == [two.id]


async def _all_delivered(hooks: Webhooks) -> None:
    while taken := await _take(hooks):
        await hooks.settle_deliveries([_settled(each) for each in taken])


async def test_a_replay_of_a_span_makes_each_once_whatever_is_delivered_meanwhile(hooks: Webhooks) -> None:
    webhook = await _hook(hooks)
    for _ in range(5):
        await _ended(hooks)
    await _all_delivered(hooks)
    wanted = [row["id"] for row in await hooks.deliveries("default", webhook, None, None, 10)][::-1]
    # Noted before the replay, and first tried after it began: it is sent anyway.
    await _ended(hooks)
    ids, page = await hooks.replay_span("default", webhook, Span("delivered"), 2)
    replayed = list(ids)
    while page is not None:
        await _ended(hooks)
        await _all_delivered(hooks)
        ids, page = await hooks.replay_span("default", webhook, Span("delivered"), 2, page)
        assert len(replayed) < len(wanted), "it goes on and on"
        replayed += ids
    assert replayed == wanted


@pytest.mark.parametrize("state", ["delivered", "failed", None])
async def test_a_replay_takes_what_was_noted_in_a_span_and_is_in_a_state(
    hooks: Webhooks, pool: Pool, state: str | None
) -> None:
    webhook = await _hook(hooks)
    for each in (["delivered", "failed"] * 3)[:5]:
        await _ended(hooks)
        (one,) = await _take(hooks)
        await hooks.settle_deliveries([_settled(one, each)])
    await _ended(hooks)
    rows = (await hooks.deliveries("default", webhook, None, None, 10))[::-1]
    span = Span(state, rows[1]["created_at"], rows[4]["created_at"])
    ids, page = await hooks.replay_span("default", webhook, span, 10)
    assert (ids, page) == ([row["id"] for row in rows[1:4] if state in (None, row["state"])], None)
    ids, _ = await hooks.replay_span("default", webhook, Span(state, datetime(1, 1, 2, tzinfo=UTC)), 10)
    assert ids == [row["id"] for row in (rows[0], rows[4]) if state in (None, row["state"])]
    assert await pool.fetchval("select count(*) from milepost.deliveries where state = 'pending'")


MONTH = 20_000
"""Deliveries."""
NAMED = ", ".join(f"milepost.first_id(now() - interval '{days} days')" for days in range(30))


async def test_a_log_is_read_where_it_is_asked_for_however_long_it_is(hooks: Webhooks, pool: Pool) -> None:
    """Counted in rows, not in time; also on plans that were made while the log was empty."""
    webhook = await _hook(hooks)
    who, day = f"'default', '{webhook}'", "now() - interval '20 days', now() - interval '19 days'"
    calls = {
        "deliveries_of": f"({who}, null, 50)",
        "deliveries_in_state": f"({who}, null, 50, 'failed')",
        "deliveries_replay": f"({who}, array[{NAMED}]::uuid[], null, null, null, null, null, null)",
        "deliveries_replay of a span": f"({who}, null, 'failed', null, null, null, null, 50)",
        "deliveries_replay of a day": f"({who}, null, null, {day}, null, null, 50)",
        "deliveries_replay of a day without any": f"({who}, null, 'failed', {day}, null, null, 50)",
    }
    async with pool.acquire() as connection:

        async def in_order(text: str) -> list[Any]:
            trial = connection.transaction()
            await trial.start()
            await connection.execute(IN_ORDER)
            rows: list[Any] = await connection.fetch(text)
            await trial.rollback()
            return rows

        for call, arguments in calls.items():
            name = call.partition(" ")[0]
            if name == call:
                await connection.execute(f"prepare log_{name} as {sql(name)}")
            await in_order(f"execute log_{name}{arguments}")
        # A month, with ten failures in the first days.
        for n in range(0, MONTH, 5_000):
            await connection.execute(
                "insert into milepost.deliveries"
                " (id, webhook_id, tenant, task_id, epoch, state, attempt, created_at, begun_at)"
                " select (left(replace(milepost.first_id(at)::text, '-', ''), 12) || left(md5(n::text), 20))::uuid,"
                " $1, 'default', gen_random_uuid(), 1,"
                " case when n % 200 = 0 and n <= 2000 then 'failed' else 'delivered' end, 1, at, at"
                " from (select n, now() - interval '30 days' * (1 - n::float8 / $3) as at"
                " from generate_series($2::int + 1, $2 + 5000) as n) as made",
                webhook, n, MONTH,
            )  # fmt: skip
        for analysed in (False, True):
            if analysed:
                await connection.execute("analyze milepost.deliveries")
            for call, arguments in calls.items():
                name = call.partition(" ")[0]
                rows = await in_order(f"explain (analyze) execute log_{name}{arguments}")
                plan = "\n".join(row[0] for row in rows)
                scans = [line for line in plan.splitlines() if " on deliveries" in line]
                assert scans, plan
                read = [int(rows) for line in scans for rows in re.findall(r"\(actual [^)]*rows=(\d+)", line)]
                left_out = [int(rows) for rows in re.findall(r"Rows Removed by Filter: (\d+)", plan)]
                assert max(read + left_out) <= 50, plan
        for call in calls:
            if " " not in call:
                await connection.execute(f"deallocate log_{call}")


async def test_old_deliveries_and_those_of_deleted_webhooks_are_forgotten(hooks: Webhooks, pool: Pool) -> None:
    webhook = await _hook(hooks)
    for _ in range(5):
        await _ended(hooks)
    await hooks.settle_deliveries([_settled(one) for one in await _take(hooks)])
    assert await hooks.prune_deliveries(3600, 100) == 0
    assert await hooks.prune_deliveries(-10, 3) == 3
    await hooks.delete_webhook("default", webhook)
    assert await hooks.prune_deliveries(3600, 100) == 2
    await pool.execute("update milepost.webhooks set deleted_at = now() - interval '1 hour'")
    assert await hooks.prune_deliveries(3600, 100) == 0
    for table in ("deliveries", "delivery_attempts", "webhooks"):
        assert await pool.fetchval(f"select count(*) from milepost.{table}") == 0, table  # noqa: S608 - a constant


async def test_no_more_is_forgotten_at_once_than_was_asked_and_nothing_left(hooks: Webhooks) -> None:
    gone, _ = await _hook(hooks), await _hook(hooks)
    for _ in range(4):
        await _ended(hooks)
    await hooks.delete_webhook("default", gone)
    # Four are of a webhook that was deleted, and all eight old: whoever goes on until fewer went forgets them all.
    counts = [await hooks.prune_deliveries(-10, 3) for _ in range(4)]
    assert counts == [3, 3, 2, 0]


async def test_a_ping_tells_of_no_task(hooks: Webhooks) -> None:
    webhook = await _hook(hooks)
    assert await hooks.ping_webhook("other", webhook) is None
    assert await hooks.ping_webhook("default", webhook) is not None
    (delivery,) = await _take(hooks)
    assert (delivery.ping, delivery.row, delivery.secrets) == (True, None, (SECRET,))


async def test_a_rotation_keeps_the_secret_of_before_for_a_while(hooks: Webhooks, pool: Pool) -> None:
    webhook = await _hook(hooks)
    assert await hooks.rotate_secret("other", webhook, "whsec_bmV3", 60) is None
    await hooks.rotate_secret("default", webhook, "whsec_bmV3", 60)
    await hooks.ping_webhook("default", webhook)
    (delivery,) = await _take(hooks)
    assert delivery.secrets == ("whsec_bmV3", SECRET)
    await pool.execute("update milepost.webhooks set secret_old_until = now()")
    await hooks.ping_webhook("default", webhook)
    (delivery,) = await _take(hooks)
    assert delivery.secrets == ("whsec_bmV3",)
    await hooks.rotate_secret("default", webhook, "whsec_bmV4", 0)
    await hooks.ping_webhook("default", webhook)
    (delivery,) = await _take(hooks)
    assert delivery.secrets == ("whsec_bmV4",)


async def test_a_tenant_has_so_many_webhooks_and_no_more(hooks: Webhooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.store.webhooks.MOST", 2)
    await _hook(hooks)
    await _hook(hooks, tenant="other")
    await _hook(hooks)
    with pytest.raises(AssertionError):
        await _hook(hooks)
