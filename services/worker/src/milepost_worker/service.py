"""The worker process: its parts put together, its start and its drain."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from milepost.acknowledged import Acknowledged
from milepost.announce import Announcer
from milepost.errors import Unavailable
from milepost.log import Topics, Writer
from milepost.log.deadletters import put_aside
from milepost.runtime.batching import GroupCommit
from milepost.runtime.health import Health, application, bound, serving
from milepost.runtime.lifecycle import Shutdown, background, first_of
from milepost.runtime.loglevels import LogLevel
from milepost.runtime.logs import get_logger
from milepost.runtime.metrics import reading
from milepost.runtime.metrics.exposition import Exposition
from milepost.runtime.metrics.serving import add_route, measuring
from milepost.runtime.settings import Settings
from milepost.runtime.standing import Dependency
from milepost.runtime.transitions import moved
from milepost.store import Claimed, Limited, open_pool
from milepost.store.connection import Pool, transient
from milepost.store.loglevels import LogLevels
from milepost.store.retention import Retention
from milepost.store.webhooks import Webhooks
from milepost.tasks.registry import Registry
from milepost.webhooks.sender import Sender
from milepost.webhooks.trust import tls_context
from milepost_worker import meter
from milepost_worker.attempt import GRACE_S, Attempt, Runners, StopReason
from milepost_worker.came import Came
from milepost_worker.control import Control
from milepost_worker.execution.inline import ThreadJob
from milepost_worker.execution.processes import Processes
from milepost_worker.forgetting import Forgetting
from milepost_worker.identity import Identity
from milepost_worker.intake import Intake
from milepost_worker.keeper import Keeper
from milepost_worker.leases import Leases
from milepost_worker.outcome import Dropped, Outcome
from milepost_worker.passes import Passes
from milepost_worker.pump import Pump
from milepost_worker.running import Running
from milepost_worker.settle import Settler
from milepost_worker.spans import Run, polls, run_for
from milepost_worker.tally import Tally
from milepost_worker.voice import Outlets

log = get_logger("milepost.worker")

BEAT_EVERY_S = 3.0
FLUSH_AT_STOP_S = 3.0
HURRY_S = 2.0
"""After a second signal: for handlers to end and for outcomes to be written."""
GOODBYE_S = 3.0
WRITTEN_S = 1.0
"""After a receiver's time is over: for what came of the request to be written."""

_WITHOUT_POSTGRES = (
    "handlers go on until shortly before their leases end; outcomes are kept and written when it is back"
)
_WITHOUT_KAFKA = "tasks are taken from Postgres, a second later; events wait"


class Worker:
    """Everything one worker process does. `run` returns after a drain."""

    def __init__(self, settings: Settings, registry: Registry, modules: Sequence[str], pool: Pool) -> None:
        self._settings = settings
        self._registry = registry
        store = self._store = Limited(pool)
        self.identity = Identity.new(settings, registry)
        self._writer = Writer(settings, self.identity.name)
        self._acknowledged = Acknowledged(store)
        topics = Topics(settings.topic_prefix)
        source = f"/milepost/worker/{self.identity.name}"
        self._announcer = Announcer(self._writer, topics, source, self._acknowledged, store.room)
        self._running = Running(settings.concurrency)
        apart = any(each.isolation == "process" for each in registry)
        self._processes = Processes(modules, warm=apart, nice=settings.process_nice)
        self._runners = Runners(ThreadJob, self._processes.start, self._running.leftovers)
        self._pump = Pump()
        self._outlets = Outlets(self._announcer.event, self._pump.add)
        self._log_level = LogLevel(LogLevels(pool), "worker")
        self._tally = Tally()
        self._settler = Settler(store, self._announcer, settings, self._settled)
        self._own_traces = settings.trace_runs == "linked"
        self._passes = Passes(store, self._announcer, self._writer, own_traces=self._own_traces)
        self._runs_before = GroupCommit(store.runs_before, transient=transient)
        self._forgetting = Forgetting(Retention(pool), settings)
        self._hooks = Sender(Webhooks(pool), settings)
        aside = partial(put_aside, self._writer, topics)
        self._intake = Intake(settings, self.identity, store, self._running, self._start, aside)
        self._control = Control(settings, self.identity, self._running)
        self._leases = Leases(settings, self._running)
        leases = self._leases
        self.keeper = Keeper(settings, self.identity, self._running, leases.fenced, leases.cancelled, leases.absent)
        self.health = Health(
            {"postgres": Dependency(self._postgres_check, _WITHOUT_POSTGRES)},
            {"kafka": Dependency(self._kafka_check, _WITHOUT_KAFKA)},
        )
        self._exposition = Exposition("worker")
        self._exposition.reads(
            meter.reading(self.identity, self._running),
            reading.dependencies(lambda: self.health.known),
            reading.pool(pool),
            reading.writer(self._writer),
            reading.readers(self._intake),
        )
        self._open: set[Attempt] = set()
        """What is not settled, also what was lost to somebody else: `_running` shows one attempt a task."""
        self._all_settled = asyncio.Event()
        self._giving_back = False

    async def run(self, shutdown: Shutdown) -> None:
        """Work until a shutdown is asked for, then drain: nothing more is claimed, what cannot end is given back."""
        async with AsyncExitStack() as stack:
            port = self._settings.worker_http_port
            if port is not None:
                app = application(self.health)
                add_route(app, self._exposition)
                listener = serving(app, self._settings.host, port)
                port = await bound(stack, listener, "MILEPOST_WORKER_HTTP_PORT", port)
            meter.begin(self.identity)
            await stack.enter_async_context(background(("health", self.health.run)))
            await stack.enter_async_context(measuring(self._exposition, self._settings))
            self.keeper.start()
            stack.push_async_callback(self.keeper.stop)
            async with background(
                ("kafka writer", self._writer.run),
                ("acknowledged", self._acknowledged.run),
                ("lease watch", self._leases.watch),
                ("window", self._announcer.look_for_room),
                ("event pump", self._pump.run),
                ("log level", self._log_level.follow),
            ):
                # Closed before the goodbye: what its processes run is then about to be somebody else's.
                async with (
                    self._processes,
                    background(
                        ("push", self._intake.push),
                        ("steal", self._intake.steal),
                        ("limits", self._intake.keep_to_limits),
                        ("held back", self._intake.take_held),
                        ("strays", self._intake.strays.look),
                        ("due pass", self._passes.due),
                        ("sweep", self._passes.sweep),
                        ("outbox", self._passes.outbox),
                        ("retention", self._forgetting.run),
                        ("control", self._control.listen),
                        ("beat", self._beat),
                        *self._webhook_passes(),
                    ),
                ):
                    log.info(
                        "ready",
                        worker=self.identity.name,
                        queues=self.identity.queues,
                        slots=self._running.slots,
                        http_port=port,
                    )
                    await shutdown.requested.wait()
                    self.health.draining = True
                    self._intake.close()
                    await self._drain(shutdown)
                await self._say_goodbye()

    def _webhook_passes(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        if self._settings.webhooks:
            yield "webhooks", self._hooks.run
            yield "webhook log", self._hooks.prune

    def _start(self, claimed: Sequence[Claimed], lease_until: float, came: Came) -> None:
        above = polls(claimed, came)
        for task in claimed:
            moved(
                "claim", task.id, task.tenant, task.type, task.queue, "queued", "running", task.attempt, task.epoch,
                task.traceparent, came_by=came.how, worker=self.identity.name,
            )  # fmt: skip
            definition = self._registry.get(task.type)
            if definition is None:  # only a hint that lies about its type leads here
                log.error("claimed a task of a type this worker does not know", task=str(task.id), type=task.type)
                continue
            run = self._run_of(task, came, above.get(task.id))
            attempt = Attempt(task, definition, self._runners, self._outlets, lease_until, run)
            self._running.add(attempt)
            if self._giving_back:
                attempt.stop(StopReason.RELEASED)
            self._open.add(attempt)
            attempt.start(self._ended)

    def _run_of(self, task: Claimed, came: Came, above: str | None) -> Run | None:
        run = run_for(task, came, above, own_trace=self._own_traces)
        if run is not None and task.epoch > 1:
            with suppress(Unavailable):
                run.before = self._runs_before.put(task.held)
        return run

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.reason is StopReason.RELEASED and isinstance(outcome, Dropped):
            self._settler.release(attempt)
        else:
            self._settler.settle(attempt, outcome)

    def _settled(self, attempt: Attempt, retry_in: float | None) -> None:
        self._running.remove(attempt)
        self._tally.add(attempt.claimed.queue, attempt.claimed.tenant)
        self._intake.ended(attempt.claimed)
        self._open.discard(attempt)
        if not self._open:
            self._all_settled.set()
        if retry_in is not None:
            self._passes.poke(retry_in)

    async def _beat(self) -> None:
        # Types first: whoever sees this worker may submit what it runs.
        await self._store.announce([definition.info() for definition in self._registry])
        while True:
            self.keeper.changed.clear()
            beat = self.identity.beat(
                self._running.slots,
                len(self._running),
                draining=self.health.draining,
                presence=self.keeper.present,
                rates=self._tally.rates(),
            )
            await self._store.beat(beat)
            if not beat.presence:
                self.keeper.told()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_EVERY_S):
                    await self.keeper.changed.wait()

    async def _drain(self, shutdown: Shutdown) -> None:
        log.info("draining", running=len(self._running), seconds=self._settings.drain)
        self._hooks.close()
        loop, most = asyncio.get_running_loop(), self._settings.webhook_timeout + WRITTEN_S
        hooks_until = loop.time() + min(self._settings.drain, most)
        await first_of(self._running.empty(), shutdown.hurry.wait(), within_s=self._settings.drain)
        self._giving_back = True
        left = [attempt for attempt in self._running if not attempt.settling]
        if left:
            log.info("giving unfinished tasks back to their queues; the attempt does not count", tasks=len(left))
        for attempt in left:
            attempt.stop(StopReason.RELEASED)
        # Handlers get their grace, and outcomes a lease's time to reach Postgres.
        await first_of(self._over(), shutdown.hurry.wait(), within_s=GRACE_S + 2.0 + self._settings.lease)
        if shutdown.hurry.is_set():
            await first_of(self._over(), within_s=HURRY_S)
        if self._open:
            log.warning("some tasks did not end in time; they are given back as they are", tasks=len(self._open))
        # Who is cut off while a receiver answers sends it a copy; receivers cope, but need not.
        left_s = max(0.0, hooks_until - loop.time())
        await first_of(self._hooks.over(), shutdown.hurry.wait(), within_s=left_s)

    async def _over(self) -> None:
        """Wait until nothing runs and nothing is being written."""
        while self._open:
            self._all_settled.clear()
            await self._all_settled.wait()

    async def _say_goodbye(self) -> None:
        await self.keeper.stop()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._intake.strays.give_back_all()
                await self._store.gone(self.identity.id)
        except (Unavailable, TimeoutError):
            log.info("Postgres is away; what ran here is taken back as soon as it answers")
        if not await self._writer.flush(FLUSH_AT_STOP_S):
            log.warning("Kafka did not take everything; other workers publish what is missing from the outbox")
        await self._acknowledged.drain()
        log.info("stopped")

    async def _postgres_check(self) -> tuple[bool, str]:
        if not self.keeper.connected:
            return False, "leases cannot be renewed"
        return True, "leases are renewed" + (", presence held" if self.keeper.present else "")

    async def _kafka_check(self) -> tuple[bool, str]:
        if not self._intake.connected:
            return False, "not reading"
        return True, "reading"


async def serve(settings: Settings, registry: Registry, modules: Sequence[str], shutdown: Shutdown) -> None:
    """Compose a worker and run it until it has drained. Raises SettingsError before anything is started."""
    if settings.webhooks:
        tls_context(settings)
    # Claims, renewals, completions and five passes may be under way at once.
    pool = await open_pool(settings, "worker", size=8)
    try:
        await Worker(settings, registry, modules, pool).run(shutdown)
    finally:
        pool.terminate()
