"""From the end of a task to its receiver: real Postgres, real receivers, several senders."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
import uuid_utils.compat as uuids
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from milepost.embedded import Stack
from milepost.errors import Unavailable
from milepost.runtime import tracing
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from milepost.store import Finish, Held, migrate, open_pool
from milepost.store.connection import Pool
from milepost.store.deadletters import DeadLetters
from milepost.store.webhooks import Delivery, Settled, Webhooks, Written
from milepost.webhooks.secret import new_secret
from milepost.webhooks.sender import LOOK_APART_S, OF_WEBHOOK, Sender
from milepost_schemas import Completion, TaskState
from milepost_schemas.webhook import PingWebhook, TaskWebhook
from tests.conftest import MakeSettings, eventually
from tests.integration.store.conftest import WORKER, new_task
from tests.integration.webhooks.conftest import HERE, NAME
from tests.names import Names
from tests.otlp import Kept
from tests.proxy import proxy_to
from tests.receiver import Receiver, never, receiving, saying, when

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def settings(fresh: MakeSettings) -> Settings:
    made = await fresh()
    await migrate(made)
    return made


@pytest.fixture(scope="module")
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    opened = await open_pool(settings, "test")
    yield opened
    await opened.close()


@pytest.fixture
async def hooks(pool: Pool) -> Webhooks:
    await pool.execute(
        "truncate milepost.tasks, milepost.attempts, milepost.outbox, milepost.webhooks, milepost.deliveries,"
        " milepost.delivery_attempts"
    )
    return Webhooks(pool)


class Sending:
    """Senders beside each other, and what tests want of a webhook."""

    def __init__(self, hooks: Webhooks, settings: Settings) -> None:
        self.hooks = hooks
        self.settings = settings
        self.senders: list[Sender] = []
        self._stack = AsyncExitStack()

    async def start(self, count: int = 1, store: Webhooks | None = None) -> None:
        for number in range(count):
            sender = Sender(store or self.hooks, self.settings)
            self.senders.append(sender)
            await self._stack.enter_async_context(background((f"webhooks {number}", sender.run)))

    async def stop(self) -> None:
        await self._stack.aclose()

    async def hook(self, port: int, name: str = NAME, tenant: str = "default", **filters: Any) -> tuple[UUID, str]:
        secret = new_secret()
        members: dict[str, Any] = {"description": None, "types": None, "states": None, "labels": None}
        url = f"https://{name}:{port}/hook"
        row = await self.hooks.add_webhook(tenant, uuids.uuid7(), url, secret, **(members | filters))
        assert row is not None
        return row["id"], secret

    async def ended(self, count: int = 1, state: TaskState = TaskState.SUCCEEDED, **options: Any) -> list[Held]:
        result = options.pop("result", '{"n": 7}' if state is TaskState.SUCCEEDED else None)
        error = '{"type": "ValueError", "message": "no", "retryable": false}' if state is TaskState.FAILED else None
        tasks = [new_task(**options) for _ in range(count)]
        await self.hooks.submit(tasks)
        claimed = await self.hooks.claim(WORKER, 60, [Held(task.id, 0) for task in tasks])
        await self.hooks.finish([Finish(each.held, 1, state, result, error) for each in claimed])
        return [each.held for each in claimed]

    async def states(self, webhook: UUID, tenant: str = "default") -> Counter[str]:
        return Counter(row["state"] for row in await self.hooks.deliveries(tenant, webhook, None, None, 1000))

    async def refused(self, webhook: UUID) -> Any:
        """Wait until an attempt at the one delivery has failed, and return its row."""
        found: list[Any] = []

        async def check() -> bool:
            found[:] = await self.hooks.deliveries("default", webhook, "pending", None, 1)
            return bool(found and found[0]["error"])

        await eventually(check, "an attempt to fail")
        return found[0]

    async def all_are(self, webhook: UUID, state: str, count: int, tenant: str = "default") -> None:
        async def check() -> bool:
            return await self.states(webhook, tenant) == Counter({state: count})

        await eventually(check, f"{count} deliveries to be {state}")


class Observed(Webhooks):
    """Counts looks, and those that Postgres did not answer."""

    looks = missed = 0

    async def take_deliveries(self, limit: int, hold_s: float, *, of_webhook: int, of_tenant: int) -> list[Delivery]:
        self.looks += 1
        try:
            return await super().take_deliveries(limit, hold_s, of_webhook=of_webhook, of_tenant=of_tenant)
        except Unavailable:
            self.missed += 1
            raise


@pytest.fixture
async def sending(hooks: Webhooks, settings: Settings, webhook_settings: dict[str, Any]) -> AsyncIterator[Sending]:
    made = Sending(hooks, settings.model_copy(update=webhook_settings))
    yield made
    await made.stop()


async def test_an_end_arrives_signed_as_standard_webhooks_says(sending: Sending, receiver: Receiver) -> None:
    webhook, secret = await sending.hook(receiver.port)
    await sending.start()
    (held,) = await sending.ended(labels='{"team": "red"}', traceparent=None)
    await receiver.got(1)
    (got,) = receiver.received
    body = Webhook(secret).verify(got.body, dict(got.headers))
    message = TaskWebhook.model_validate(body)
    assert message.type == "task.succeeded"
    assert isinstance(message.data, Completion)
    assert (message.data.task, message.data.result, message.data.labels) == (held.id, {"n": 7}, {"team": "red"})
    assert message.data.finished_at == message.timestamp
    assert got.headers["webhook-id"] == message.data.id == f"{held.id}:{held.epoch}"
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(got.body, dict(got.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got.body + b" ", dict(got.headers))
    await sending.all_are(webhook, "delivered", 1)


async def test_failures_and_large_results_are_told_too(sending: Sending, receiver: Receiver) -> None:
    await sending.hook(receiver.port)
    await sending.start()
    await sending.ended(state=TaskState.FAILED)
    await sending.ended(result=json.dumps("x" * 100_000))
    await receiver.got(2)
    told = {message["type"]: message["data"] for message in (orjson.loads(got.body) for got in receiver.received)}
    assert told["task.failed"]["error"]["message"] == "no"
    assert "result" not in told["task.succeeded"]
    assert max(len(got.body) for got in receiver.received) < 2_000


async def test_both_secrets_sign_after_a_rotation(sending: Sending, receiver: Receiver) -> None:
    webhook, old = await sending.hook(receiver.port)
    new = new_secret()
    await sending.hooks.rotate_secret("default", webhook, new, 60)
    await sending.start()
    await sending.hooks.ping_webhook("default", webhook)
    await receiver.got(1)
    (got,) = receiver.received
    for secret in (new, old):
        message = PingWebhook.model_validate(Webhook(secret).verify(got.body, dict(got.headers)))
        assert message.data.webhook == webhook
    assert len(got.headers["webhook-signature"].split(" ")) == 2


async def test_each_end_is_sent_once_however_many_send(sending: Sending, receiver: Receiver) -> None:
    webhook, _ = await sending.hook(receiver.port)
    await sending.start(4)
    held = await sending.ended(100)
    await sending.all_are(webhook, "delivered", 100)
    rows = await sending.hooks.deliveries("default", webhook, None, None, 1000)
    assert {row["attempt"] for row in rows} == {1}
    ids = Counter(got.headers["webhook-id"] for got in receiver.received)
    assert ids == Counter(f"{each.id}:{each.epoch}" for each in held)
    assert receiver.most_at_once <= OF_WEBHOOK * 4, "four that look at the same moment may each see room"


async def test_the_same_message_is_signed_anew_for_each_attempt(
    sending: Sending, receiver: Receiver, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, trace = Kept(), tracing.new_traceparent(sampled=True)
    monkeypatch.setattr(tracing, "_export", kept)
    webhook, secret = await sending.hook(receiver.port)
    receiver.answer = saying(500, "broken")
    await sending.start()
    (held,) = await sending.ended(traceparent=trace)
    row = await sending.refused(webhook)
    assert (row["status"], row["error"]) == (500, "The receiver answered 500.")
    receiver.answer = saying(200)
    await pool.execute("update milepost.deliveries set due_at = now()")
    await sending.all_are(webhook, "delivered", 1)
    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    Webhook(secret).verify(second.body, dict(second.headers))
    log = await sending.hooks.delivery_attempts("default", row["id"], 10)
    assert [(each["status"], each["answer"]) for each in log] == [(200, None), (500, "broken")]
    assert all(isinstance(each["at"], datetime) and each["seconds"] >= 0 for each in log)
    # Each attempt is in the trace of the task; the receiver hears of no trace.
    spans = [span for span in kept.spans if span.name == "POST webhook"]
    assert {(span.trace, span.parent, span.kind) for span in spans} == {(trace[3:35], trace[36:52], "CLIENT")}
    assert [(span.failed, span.said) for span in spans] == [(True, "The receiver answered 500."), (False, "")]
    of_all = {
        "http.request.method": "POST", "server.address": NAME, "server.port": receiver.port,
        "milepost.task.id": str(held.id), "milepost.tenant": "default", "milepost.webhook.id": str(webhook),
    }  # fmt: skip
    assert [span.attributes for span in spans] == [
        {**of_all, "http.response.status_code": 500, "error.type": "500"},
        {**of_all, "http.response.status_code": 200, "http.request.resend_count": 1},
    ]
    assert all("traceparent" not in each.headers for each in (first, second))


async def test_a_receiver_that_is_slow_holds_up_nobody_else(
    sending: Sending, receiver: Receiver, names: Names, certified: Callable[[str], ssl.SSLContext]
) -> None:
    names.table["slow.example"] = [[HERE]]
    async with receiving(HERE, certified("slow.example")) as slow:
        slow.answer = never
        await sending.hook(slow.port, "slow.example", tenant="slow")
        webhook, _ = await sending.hook(receiver.port)
        sending.settings = sending.settings.model_copy(update={"webhook_timeout": 60.0})  # nobody is given up here
        await sending.ended(200, tenant="slow")
        await sending.start()
        await slow.got(OF_WEBHOOK)
        await sending.ended(50)
        await sending.all_are(webhook, "delivered", 50)
        assert slow.under_way == OF_WEBHOOK == len(slow.received)
        # Before the receiver, whose end would wait for the requests.
        await sending.stop()


async def test_a_receiver_that_was_away_for_long_gets_all_of_it_when_it_is_back(
    sending: Sending, pool: Pool, certified: Callable[[str], ssl.SSLContext]
) -> None:
    async with receiving(HERE, certified(NAME)) as before:
        port = before.port
    webhook, _ = await sending.hook(port)
    await sending.start(2)
    await sending.ended(30)

    async def once() -> bool:
        row = await sending.hooks.webhook("default", webhook)
        assert row is not None
        return bool(row["failures"] >= 10)

    async def hours_later() -> None:
        """Let every delivery that waits have been tried, in vain, over hours."""
        await pool.execute(
            "update milepost.deliveries set due_at = now() + random() * interval '4 hours',"
            " begun_at = now() - interval '20 hours', attempt = attempt + 12, attempted_at = now() - interval '1 hour'"
            " where state = 'pending'"
        )
        await pool.execute("update milepost.webhooks set failing_since = now() - interval '20 hours'")

    async with asyncio.timeout(60):
        while not await once():
            await pool.execute("update milepost.deliveries set due_at = now() where state = 'pending'")
            await asyncio.sleep(0.05)
    row = await sending.hooks.webhook("default", webhook)
    assert row is not None
    assert "Nobody could be connected to" in row["last_error"]
    await hours_later()
    async with receiving(HERE, certified(NAME), port) as back:
        # The next to be tried finds it back; the others follow although their time has not come.
        await pool.execute(
            "update milepost.deliveries set due_at = now()"
            " where id = (select id from milepost.deliveries where state = 'pending' limit 1)"
        )
        await sending.all_are(webhook, "delivered", 30)
        assert len({got.headers["webhook-id"] for got in back.received}) == 30


async def test_a_receiver_that_is_gone_is_not_asked_again(sending: Sending, receiver: Receiver) -> None:
    webhook, _ = await sending.hook(receiver.port)
    receiver.answer = saying(410)
    await sending.start()
    await sending.ended()
    await sending.all_are(webhook, "failed", 1)
    row = await sending.hooks.webhook("default", webhook)
    assert row is not None
    assert row["disabled_reason"] == "The receiver answered 410 Gone: it wants nothing more."


async def test_a_webhook_to_a_closed_address_fails_and_says_why(
    sending: Sending, names: Names, receiver: Receiver
) -> None:
    names.table["evil.example"] = [["127.0.0.1"]]
    webhook, _ = await sending.hook(receiver.port, "evil.example")
    await sending.start()
    await sending.ended()
    row = await sending.refused(webhook)
    assert row["error"] == "evil.example leads to 127.0.0.1, which is not public (this machine). Nothing was sent."


async def test_requests_under_way_are_left_alone_while_postgres_is_away(
    sending: Sending, receiver: Receiver, stack: Stack
) -> None:
    webhook, _ = await sending.hook(receiver.port)
    answers = asyncio.Event()
    receiver.answer = when(answers)
    await sending.ended(4)
    async with proxy_to(stack.postgres.port) as proxy:
        url = sending.settings.database_url.get_secret_value().replace(f":{stack.postgres.port}/", f":{proxy.port}/")
        pool = await open_pool(sending.settings.model_copy(update={"database_url": SecretStr(url)}), "test")
        store = Observed(pool)
        await sending.start(store=store)
        try:
            await receiver.got(4)
            await proxy.refuse()

            async def missed() -> bool:
                return store.missed >= 2

            await eventually(missed, "looks in vain")
            assert receiver.under_way == 4
            answers.set()

            async def answered() -> bool:
                return receiver.under_way == 0

            await eventually(answered, "all to be answered")
            await proxy.listen()
            await sending.all_are(webhook, "delivered", 4)
            # It takes again what ends later.
            await sending.ended()
            await sending.all_are(webhook, "delivered", 5)
        finally:
            await sending.stop()
            pool.terminate()
    rows = await sending.hooks.deliveries("default", webhook, None, None, 10)
    assert (len(receiver.received), {row["attempt"] for row in rows}) == (5, {1})


async def test_who_is_closed_ends_what_is_under_way_and_takes_nothing_more(
    sending: Sending, receiver: Receiver
) -> None:
    webhook, _ = await sending.hook(receiver.port)
    answers = asyncio.Event()
    receiver.answer = when(answers)
    await sending.start()
    await sending.ended(2)
    await receiver.got(2)
    (sender,) = sending.senders
    sender.close()
    await sending.ended(2)
    over = asyncio.create_task(sender.over())
    answers.set()
    await asyncio.wait_for(over, 20)
    assert await sending.states(webhook) == Counter(delivered=2, pending=2)
    await sending.start()
    await sending.all_are(webhook, "delivered", 4)
    assert len(receiver.received) == 4


async def test_who_is_told_of_many_ends_of_requests_looks_for_all_of_them_together(
    sending: Sending, receiver: Receiver, pool: Pool
) -> None:
    webhook, _ = await sending.hook(receiver.port)
    await sending.ended(100)
    store, loop = Observed(pool), asyncio.get_running_loop()
    began = loop.time()
    await sending.start(store=store)
    await sending.all_are(webhook, "delivered", 100)
    looks = store.looks
    assert looks <= 1 + (loop.time() - began) / LOOK_APART_S


class Picky(Webhooks):
    """Does not take what a receiver answered, as if it could not be stored."""

    async def settle_deliveries(self, rows: Sequence[Settled]) -> list[Written | None]:
        if any(row.answer for row in rows):
            raise asyncpg.DataError("no such text")
        return await super().settle_deliveries(rows)


@pytest.mark.parametrize("fault", ["secret", "authorities", "answer"])
async def test_a_fault_of_ours_is_a_failed_attempt_and_not_one_for_ever(
    sending: Sending, receiver: Receiver, pool: Pool, tmp_path: Path, fault: str
) -> None:
    receiver.answer = saying(204 if fault != "answer" else 500, "a")
    await sending.hook(receiver.port)
    store = sending.hooks
    match fault:
        case "secret":
            await pool.execute("update milepost.webhooks set secret = 'whsec_x'")
        case "authorities":
            missing = tmp_path / "none.pem"
            sending.settings = sending.settings.model_copy(update={"webhook_cafile": missing})
        case "answer":
            store = Picky(pool)
    (webhook,) = await sending.hooks.webhooks("default")
    await sending.start(store=store)
    await sending.ended()
    row = await sending.refused(webhook["id"])
    assert (row["state"], row["attempt"], row["status"]) == ("pending", 1, None)
    assert row["error"] == "A fault of Milepost's; see the worker's log."
    assert row["due_at"] > row["attempted_at"]


async def test_how_a_task_ended_before_it_was_replayed_is_still_told(
    sending: Sending, receiver: Receiver, pool: Pool
) -> None:
    await sending.hook(receiver.port)
    (held,) = await sending.ended(state=TaskState.FAILED)
    await DeadLetters(pool).replay("default", [held.id], uuids.uuid7())
    await sending.start()
    await receiver.got(1)
    message = TaskWebhook.model_validate_json(receiver.received[0].body)
    assert (message.type, message.data.epoch, message.data.error is None) == ("task.failed", held.epoch, False)
