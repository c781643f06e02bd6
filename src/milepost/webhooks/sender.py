"""Delivering webhooks: any worker takes what is due (SKIP LOCKED, no leader) and sends it beside its tasks."""

import asyncio
import random
from datetime import UTC, datetime
from time import time_ns
from typing import TYPE_CHECKING, Final

from milepost.domain.delivering import Answered, DeliveryState, Reply, after_answer
from milepost.errors import Unavailable
from milepost.runtime.batching import GroupCommit
from milepost.runtime.lifecycle import jittered
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics.catalogue import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS
from milepost.runtime.settings import Settings
from milepost.store.connection import transient
from milepost.store.webhooks import Delivery, Settled, Webhooks, Written
from milepost.webhooks import spans

if TYPE_CHECKING:
    from milepost.webhooks.outgoing import Outgoing

log = get_logger("milepost.webhooks")

SLOTS: Final = 128
"""Requests under way in one process."""
OF_WEBHOOK: Final = 8
OF_TENANT: Final = 32
"""Under way at once to one webhook and for one tenant, by all processes together."""
LOOK_EVERY_S: Final = 0.5
LOOK_APART_S: Final = 0.05
"""Requests end one by one, and a look costs Postgres as much for one as for many."""
MARGIN_S: Final = 15.0
"""So much longer than a request may take a delivery is held, to write what came of it."""
PRUNE_EVERY_S: Final = 600.0
PRUNE_BATCH: Final = 1_000
OURS: Final = "A fault of Milepost's; see the worker's log."
KEPT_S: Final = 30 * 86_400.0
"""Deliveries and their log."""
_OUTCOMES: Final = {
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.PENDING: "again",
    DeliveryState.FAILED: "failed",
}


class Sender:
    """Takes deliveries, sends them, writes what came of it. What is needed to send is loaded with the first."""

    def __init__(self, store: Webhooks, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._hold_s = settings.webhook_timeout + MARGIN_S
        self._settle = GroupCommit[Settled, Written | None](store.settle_deliveries, transient=transient)
        self._sending: set[asyncio.Task[None]] = set()
        self._poked = asyncio.Event()
        self._looking = False
        self._closed = False
        self._outgoing: Outgoing | None = None

    async def run(self) -> None:
        """Send what is due, until cancelled. Who is cut off in the middle leaves the delivery to be sent once more."""
        try:
            while not self._closed:
                self._poked.clear()
                await self._look()
                if not self._closed:
                    await self._rest()
            self._poked.set()
            await asyncio.get_running_loop().create_future()
        finally:
            for task in self._sending:
                task.cancel()
            if self._sending:
                await asyncio.wait(self._sending)
            if self._outgoing is not None:
                outgoing, self._outgoing = self._outgoing, None
                await outgoing.close()
            self._poked.set()

    def close(self) -> None:
        """Take nothing more. What is under way goes on until `run` is cancelled."""
        self._closed = True
        self._poked.set()

    async def over(self) -> None:
        """Wait, after `close`, until nothing is under way any more and what came of it is written."""
        while self._looking or self._sending:
            self._poked.clear()
            await self._poked.wait()

    async def prune(self) -> None:
        """Forget what is old, until cancelled."""
        while True:
            # First a pause: workers are often started together.
            await asyncio.sleep(random.uniform(0.5, 1.5) * PRUNE_EVERY_S)  # noqa: S311 - spread, not secrecy
            while await self._store.prune_deliveries(KEPT_S, PRUNE_BATCH) == PRUNE_BATCH:
                pass

    async def _look(self) -> None:
        """Take what is due and begin to send it. While Postgres is away what is under way goes on."""
        tries = 0
        while not self._closed:
            self._looking = True
            try:
                for delivery in await self._take():
                    task = asyncio.create_task(self._deliver(delivery))
                    self._sending.add(task)
                    task.add_done_callback(self._done)
            except Unavailable as error:
                if not tries:
                    log.warning("no webhooks are taken; requests under way go on", error=str(error))
            else:
                if tries:
                    log.info("webhooks are taken again", tries=tries)
                return
            finally:
                self._looking = False
            await asyncio.sleep(jittered(tries))
            tries += 1

    async def _take(self) -> list[Delivery]:
        free = SLOTS - len(self._sending)
        if not free:
            return []
        return await self._store.take_deliveries(free, self._hold_s, of_webhook=OF_WEBHOOK, of_tenant=OF_TENANT)

    async def _rest(self) -> None:
        await asyncio.sleep(LOOK_APART_S)
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._poked.wait()
        except TimeoutError:
            pass

    def _done(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        # There is room again, and of the same webhook more may wait.
        self._poked.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery failed by a fault of ours; it is sent again", exc_info=error)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            began_ns = time_ns()
            came = await self._send(delivery)
            spans.sent(delivery, came.answered, began_ns)
            await self._settled(delivery, came)
        except Exception:  # whatever it is: what is not settled would be sent for ever
            log.exception("a delivery failed by a fault of ours", delivery=str(delivery.id))
            await self._settled(delivery, Reply(Answered(None, OURS)))

    async def _send(self, delivery: Delivery) -> Reply:
        from milepost.webhooks.message import make_message
        from milepost.webhooks.outgoing import Outgoing

        if delivery.row is None and not delivery.ping:
            return Reply(Answered(None, "The task is not there any more."))
        if self._outgoing is None:
            self._outgoing = Outgoing(self._settings)
        return await self._outgoing.send(delivery.url, make_message(delivery, datetime.now(UTC)))

    async def _settled(self, delivery: Delivery, came: Reply) -> None:
        answered = came.answered
        following = after_answer(
            answered,
            attempt=delivery.tries,
            tried_s=delivery.tried_s,
            chance=random.random(),  # noqa: S311
        )
        row = Settled(
            delivery.id, delivery.attempt, following.state, following.delay,
            answered.status, answered.error, came.seconds, came.answer, delivery.url,
        )  # fmt: skip
        WEBHOOK_ATTEMPTS.add(1, _OUTCOMES[following.state])
        WEBHOOK_SECONDS.observe(came.seconds)
        written = await self._write(row)
        if written is not None and written.disabled is not None:
            log.warning("disabled a webhook", webhook=str(written.webhook_id), reason=written.disabled)

    async def _write(self, row: Settled) -> Written | None:
        """Write what came of it; what cannot be written while the delivery is ours is sent once more by somebody."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MARGIN_S
        tries = 0
        while True:
            try:
                return await self._settle(row)
            except Unavailable:
                pause = jittered(tries, cap=2.0)
                if loop.time() + pause > deadline:
                    log.warning("Postgres is away; a delivery will be made once more", delivery=str(row.id))
                    return None
                await asyncio.sleep(pause)
                tries += 1
