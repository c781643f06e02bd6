"""How a worker comes by tasks, with a real Postgres: what it may take, and what wakes it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar

import orjson
import pytest
import uuid_utils.compat as uuid_utils
from aiokafka import AIOKafkaProducer, ConsumerRecord
from pydantic import SecretStr

from milepost.domain.limits import Name, Scope
from milepost.embedded import Stack
from milepost.log import Topics
from milepost.log.reader import Consumed
from milepost.runtime.lifecycle import background
from milepost.runtime.settings import Settings
from milepost.store import Claimed, Finish, Limited, NewTask, migrate, open_pool
from milepost.store.by_turns import ByTurns
from milepost.store.connection import Pool
from milepost.tasks.registry import load
from milepost_schemas import Dispatch, Priority, TaskState
from milepost_schemas.cloudevents import headers_of
from milepost_worker.came import Came
from milepost_worker.identity import Identity
from milepost_worker.intake import Intake
from milepost_worker.running import Running
from tests.conftest import MakeSettings, eventually
from tests.proxy import proxy_to

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

SLOTS = 4


class Worker:
    """An intake whose tasks begin and never end by themselves."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.store = Limited(pool)
        self.running = Running(SLOTS)
        self.took: list[Claimed] = []
        self.topics = Topics(settings.topic_prefix)
        self.identity = Identity.new(settings, load(["tests.tasks"]))
        self.intake = Intake(settings, self.identity, self.store, self.running, self._start, self._aside)

    def _start(self, claimed: Sequence[Claimed], _until: float, _came: Came) -> None:
        self.took += claimed

    async def _aside(self, records: Sequence[tuple[Consumed, str]]) -> None:
        raise AssertionError(records)

    @property
    def took_of(self) -> list[str]:
        """Whose tasks were taken, in order."""
        return [task.tenant for task in self.took]

    def hint(self, task: NewTask, *, more: bool = False) -> Consumed:
        """Return a record as the api writes it."""
        body = {"task": str(task.id), "tenant": task.tenant, "type": task.type, "epoch": 0, "key": None, "more": more}
        value = orjson.dumps(body)
        headers = headers_of(Dispatch, identity=f"{task.id}:0", source="/test", subject=str(task.id), traceparent=None)
        topic = self.topics.work(task.queue, task.priority)
        return ConsumerRecord(topic, 0, 0, 0, 0, None, value, None, -1, len(value), tuple(headers))

    async def until_took(self, *tenants: str) -> None:
        """Wait until tasks of these tenants were taken, each named as often as it was."""

        async def there() -> bool:
            return sorted(self.took_of) == sorted(tenants)

        await eventually(there, f"tasks of {tenants} to be taken")


@pytest.fixture(scope="module")
async def settings(fresh: MakeSettings) -> Settings:
    made = await fresh(queues=["default"])
    await migrate(made)
    return made


@pytest.fixture(scope="module")
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    opened = await open_pool(settings, "test")
    yield opened
    await opened.close()


@pytest.fixture
async def worker(settings: Settings, pool: Pool) -> Worker:
    await pool.execute("truncate milepost.tasks, milepost.attempts, milepost.outbox, milepost.limits, milepost.paces")
    return Worker(settings, pool)


def _task(tenant: str, **overrides: Any) -> NewTask:
    values: dict[str, Any] = {
        "id": uuid_utils.uuid7(),
        "tenant": tenant,
        "type": "test.gate",
        "queue": "default",
        "priority": Priority.NORMAL,
        "max_attempts": 3,
        "payload": "{}",
    }
    return NewTask(**(values | overrides))


async def _old(worker: Worker, pool: Pool, *tasks: NewTask) -> None:
    """Have tasks wait that were queued a minute ago, so that they may be stolen."""
    await worker.store.submit(tasks)
    await pool.execute("update milepost.tasks set queued_at = now() - interval '1 minute'")


@pytest.mark.parametrize("way", ["steal", "take_held"])
async def test_nothing_is_taken_before_it_is_known_what_is_paused(worker: Worker, pool: Pool, way: str) -> None:
    await worker.store.pause("paused", "default", paused=True)
    await _old(worker, pool, _task("paused"), _task("other"))
    worker.intake._freed.set()
    body: Callable[[], Awaitable[None]] = getattr(worker.intake, way)
    async with background((way, body)):
        for _ in range(300):  # many more than a take needs
            await pool.fetch("select")
        assert worker.took == []
        async with background(("limits", worker.intake.keep_to_limits)):
            await worker.until_took("other")


async def test_limits_are_read_when_they_have_changed_and_not_each_time(
    settings: Settings, worker: Worker, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noting(Limited):
        looks: ClassVar[list[str]] = []

        async def _fetch(self, name: str, *arguments: Any) -> list[Any]:
            self.looks.append(name)
            return await super()._fetch(name, *arguments)

    monkeypatch.setattr("milepost_worker.intake.LIMITS_EVERY_S", 0.01)
    intake = Intake(settings, worker.identity, Noting(pool), worker.running, worker._start, worker._aside)

    async def looked() -> bool:
        return len(Noting.looks) > 12

    async with background(("limits", intake.keep_to_limits)):
        await eventually(looked, "many looks at limits")
        assert Noting.looks.count("limits") == 1
        await worker.store.pause("paused", "default", paused=True)

        async def learnt() -> bool:
            return bool(intake._by_turns.limits)

        await eventually(learnt, "the pause to be known")


async def test_hints_that_waited_for_a_slot_keep_to_what_was_paused_meanwhile(worker: Worker) -> None:
    tasks = [_task("paused"), _task("other")]
    await worker.store.submit(tasks)
    taken = worker.running.reserve(SLOTS)
    claiming = asyncio.create_task(worker.intake._claim([worker.hint(task) for task in tasks]))
    await asyncio.sleep(0)  # it waits for a slot now
    await worker.store.pause("paused", "default", paused=True)
    async with background(("limits", worker.intake.keep_to_limits)):
        await asyncio.wait_for(worker.intake._learnt.wait(), 10)
        worker.running.unreserve(taken)
        await asyncio.wait_for(claiming, 10)
    assert worker.took_of == ["other"]


async def test_hints_that_waited_for_postgres_keep_to_what_was_paused_meanwhile(
    settings: Settings, stack: Stack, worker: Worker
) -> None:
    tasks = [_task("paused"), _task("other")]
    await worker.store.submit(tasks)
    async with proxy_to(1) as proxy:  # nobody listens there
        url = settings.database_url.get_secret_value().replace(f":{stack.postgres.port}/", f":{proxy.port}/")
        cut_off = await open_pool(settings.model_copy(update={"database_url": SecretStr(url)}), "test")
        try:
            hasty = Worker(settings, cut_off)
            claiming = asyncio.create_task(hasty.intake._claim([hasty.hint(task) for task in tasks]))

            async def tried() -> bool:
                return proxy.accepted > 0

            await eventually(tried, "the claim to be tried in vain")
            await worker.store.pause("paused", "default", paused=True)
            hasty.intake._by_turns.limits = await worker.store.limits()
            proxy.target = ("127.0.0.1", stack.postgres.port)
            await asyncio.wait_for(claiming, 20)
        finally:
            cut_off.terminate()
    assert hasty.took_of == ["other"]


async def test_a_hint_that_cannot_be_followed_but_says_that_others_wait_leads_to_them(worker: Worker) -> None:
    unknown, other = _task("large", type="nobody.runs"), _task("large")
    await worker.store.submit([unknown, other])
    await worker.intake._claim([worker.hint(unknown, more=True)])
    assert worker.took == []
    assert worker.intake._behind
    await worker.intake._take_turns()
    assert [task.id for task in worker.took] == [other.id]


async def test_hints_are_followed_while_looks_see_only_what_cannot_be_taken(
    settings: Settings, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.store.by_turns.TENANTS", 1)
    # So many that looks do not come to the newcomer while anybody waits for this test.
    await worker.store.submit([_task(f"tenant-{n:03}", type="nobody.runs") for n in range(400)])
    newcomer = _task("zoe")
    await worker.store.submit([newcomer])

    async def barren() -> bool:
        return worker.intake._barren > 2

    async with background(("limits", worker.intake.keep_to_limits), ("push", worker.intake.push)):
        await eventually(barren, "looks that bring nothing although others wait")
        await _send(settings, worker.hint(newcomer))
        await worker.until_took("zoe")
        # As many as there are slots, after which others may be next.
        crowd = [_task("zoe") for _ in range(SLOTS)]
        await worker.store.submit(crowd)
        await _send(settings, *(worker.hint(task) for task in crowd))
        await worker.until_took(*["zoe"] * (1 + SLOTS))


async def _send(settings: Settings, *records: Consumed) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(record.topic, record.value, headers=list(record.headers))
    finally:
        await producer.stop()


async def test_what_others_of_its_loops_find_held_back_is_taken_when_a_place_is_freed_elsewhere(
    worker: Worker,
) -> None:
    await worker.store.set_limit(Name("a", Scope.QUEUE, "default"), 1, None)
    intake = worker.intake
    async with background(("limits", intake.keep_to_limits), ("held back", intake.take_held)):
        await asyncio.wait_for(intake._learnt.wait(), 10)

        async def looked() -> bool:
            return intake._by_turns._whole and not intake._freed.is_set()

        await eventually(looked, "a look that finds nothing, after which nobody need look again")
        elsewhere = ByTurns(worker.store, uuid_utils.uuid7(), 15.0, ["default"], ["test.gate"])
        await worker.store.submit([_task("a")])
        ((holder,), _) = await elsewhere.take(1)
        await worker.store.submit([_task("a")])
        intake._by_turns.look_again()
        assert (await intake._take(0.0))[0] == 0
        await worker.store.finish([Finish(holder.held, 1, TaskState.SUCCEEDED, result="1")])
        await worker.until_took("a")


async def test_what_is_not_tried_for_a_while_is_still_known_to_be_held_back(worker: Worker) -> None:
    await worker.store.set_limit(Name("a", Scope.QUEUE, "default"), 0, None)
    turns = ByTurns(worker.store, uuid_utils.uuid7(), 15.0, ["default"], ["test.gate"])
    turns.limits = await worker.store.limits()
    await worker.store.submit([_task("a")])
    assert (await turns.take(1)).claimed == []
    for newcomer in ("b", "c"):
        await worker.store.submit([_task(newcomer)])
        turns.look_again()
        assert [task.tenant for task in (await turns.take(1)).claimed] == [newcomer]
        assert [group.tenant for group in turns.held] == ["a"]
    await worker.store.set_limit(Name("a", Scope.QUEUE, "default"), 1, None)
    turns.limits = await worker.store.limits()
    assert [task.tenant for task in (await turns.take(1)).claimed] == ["a"]
    assert turns.held == {}
