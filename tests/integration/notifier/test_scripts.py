"""The scripts in Redis against what they are meant to do, written in Python."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from milepost.errors import Unavailable
from milepost.live import Snapshots, connect
from milepost.live.snapshots import FINISHED_TTL_S, OPEN_TTL_S, key_of
from milepost.live.wire import MEMBERS, feed_entries
from milepost.runtime.settings import Settings
from milepost_schemas.event import Event, EventKind
from milepost_schemas.position import Position
from tests.integration.notifier.acting import TENANT, Living
from tests.unit.notifier.remembering import WHOLE, Remembered

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(task: UUID, at: tuple[int, int], kind: EventKind, data: dict[str, Any], merged: int = 0) -> Event:
    return Event(task=task, tenant=TENANT, root=task, at=Position(*at), merged=merged, kind=kind, time=NOW, data=data)


def whole(task: UUID, state: str) -> dict[str, Any]:
    return {**dict.fromkeys(WHOLE, "x"), "id": str(task), "state": state, "epoch": 0}


def row(task: UUID, state: str) -> dict[str, Any]:
    """Return a task with each of its members, as it comes from a row."""
    return {**dict.fromkeys(sorted(MEMBERS)), **whole(task, state)}


_flags = st.sampled_from([None, whole, row])
_positions = st.tuples(st.integers(0, 3), st.integers(0, 4))
_values = st.sampled_from([None, 1, "é\n", {"done": 1}, 2**70])
_steps = st.one_of(
    st.tuples(
        st.just("apply"),
        _positions,
        st.sampled_from(list(EventKind)),
        st.dictionaries(st.sampled_from(["progress", "state", "error", "result"]), _values, max_size=2),
        _flags,
        st.integers(0, 4),
    ),
    st.tuples(
        st.just("seed"), _positions, st.sampled_from(["queued", "running", "failed"]), _values, _flags, st.just(0)
    ),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_steps, max_size=12))
def test_the_scripts_do_what_the_model_says(settings: Settings, steps: list[Any]) -> None:
    asyncio.run(_compare(settings, steps))


async def _compare(settings: Settings, steps: list[Any]) -> None:
    redis = connect(settings)
    snapshots = Snapshots(redis)
    task, model = UUID(str(uuid7())), Remembered()
    for step, at, what, more, flag, merged in steps:
        if step == "apply":
            data = {**(flag(task, "queued") if flag else {}), **more}
            news = await snapshots.apply([event(task, at, what, data, merged)])
            assert news == model.apply(Position(*at), what, data, min(merged, at[1]))
        else:
            stored = {**(flag or whole)(task, what), "epoch": at[0], **({"progress": more} if flag else {})}
            assert await snapshots.seed(TENANT, stored, Position(*at)) == model.seed(stored, Position(*at))
        view = await snapshots.read(TENANT, task)
        assert view is not None
        names = [name for name, _ in json.loads(view.task, object_pairs_hook=list)]
        assert len(names) == len(set(names))
        shown = {"id": str(task), **model.task}  # says whose it is, whatever was seen
        assert (view.at, json.loads(view.task), view.complete) == (model.at, shown, model.complete)
        assert view.finished == (model.task.get("state") in ["succeeded", "failed", "cancelled"])
        [standing] = await snapshots.positions([(TENANT, task)])
        assert standing == (view.at, view.complete, view.finished)
    await redis.aclose()


@pytest.mark.parametrize("seeded", [None, (1, 0), (1, 1)], ids=["alone", "seeded", "moved"])
async def test_a_feed_is_told_once_of_a_task_whose_first_event_was_overtaken(
    snapshots: Snapshots, redis: Redis, seeded: tuple[int, int] | None
) -> None:
    task = Living()
    queued, started = task.queued(), task.started()
    async with redis.pubsub() as listener:
        await listener.subscribe(f"mp:{TENANT}:feed")
        await listener.parse_response()
        await snapshots.apply([started])
        if seeded is not None:
            await snapshots.seed(TENANT, dict(task.task), Position(*seeded))
        await snapshots.apply([queued, queued])
        await redis.publish(f"mp:{TENANT}:feed", "")
        told: list[Any] = []
        while message := (await listener.parse_response())[2]:
            told += feed_entries(message)
    assert [(at, kind) for _, at, kind, *_ in told] == [
        (b"1,0", b"started"),
        (b"%d,%d" % (seeded or (1, 0)), b"queued"),
    ]
    assert json.loads(told[1][4]) == task.task


async def test_two_hundred_events_are_one_call_and_more_are_one_round_trip(snapshots: Snapshots, redis: Redis) -> None:
    tasks = [Living() for _ in range(450)]
    await snapshots.apply([tasks[0].queued()])
    await redis.config_resetstat()
    assert await snapshots.apply([task.queued() for task in tasks]) == 449
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls == 3


async def test_scripts_come_back_after_redis_forgot_them(snapshots: Snapshots, redis: Redis) -> None:
    task = Living()
    await snapshots.apply([task.queued()])
    await redis.script_flush()
    assert await snapshots.apply([task.started()] * 300) == 1
    await redis.script_flush()
    assert await snapshots.read(TENANT, task.id) is not None


async def test_history_is_capped_and_what_is_kept_is_a_chain(snapshots: Snapshots, redis: Redis) -> None:
    task = Living()
    await snapshots.apply([task.queued(), task.started(), *(task.progress(n) for n in range(1000))])
    assert 256 <= await redis.xlen(key_of(TENANT, task.id) + ":h") < 512
    since = Position(1, 900)
    view = await snapshots.read_since(TENANT, task.id, since)
    assert view is not None
    chain = view.after(since)
    assert chain is not None
    assert [one.at.seq for one in chain] == list(range(901, 1001))
    assert view.after(Position(1, 5)) is None
    assert view.after(view.at) == []


async def test_what_is_kept_runs_out_an_hour_after_the_end(snapshots: Snapshots, redis: Redis) -> None:
    task = Living()
    key = key_of(TENANT, task.id)
    await snapshots.apply([task.queued(), task.started(), task.progress(1)])
    assert OPEN_TTL_S - 5 < await redis.ttl(key) <= OPEN_TTL_S
    await snapshots.apply([task.succeeded()])
    assert FINISHED_TTL_S - 5 < await redis.ttl(key) <= FINISHED_TTL_S
    assert FINISHED_TTL_S - 5 < await redis.ttl(key + ":h") <= FINISHED_TTL_S


@pytest.mark.parametrize("suffix", ["", ":h"])
async def test_a_key_of_another_type_does_not_stop_the_ingest(snapshots: Snapshots, redis: Redis, suffix: str) -> None:
    task = Living()
    await redis.set(key_of(TENANT, task.id) + suffix, "junk")
    assert await snapshots.apply([task.queued(), task.started()]) == 2
    view = await snapshots.read(TENANT, task.id)
    assert view is not None
    assert orjson.loads(view.task) == task.task


async def test_a_history_left_over_from_an_evicted_snapshot_is_dropped(snapshots: Snapshots, redis: Redis) -> None:
    task = Living()
    events = [task.queued(), task.started(), task.progress(1)]
    await snapshots.apply(events)
    await redis.delete(key_of(TENANT, task.id))
    assert await snapshots.apply(events) == 3
    assert await redis.xlen(key_of(TENANT, task.id) + ":h") == 2  # all but the very first


async def test_events_that_hold_the_whole_task_are_links_of_the_chain(snapshots: Snapshots) -> None:
    task, before = UUID(str(uuid7())), Position(0, 0)
    states = [("queued", (0, 0)), ("running", (1, 0)), ("running", (1, 1)), ("queued", (1, 2)), ("succeeded", (2, 0))]
    for state, at in states:
        kind = EventKind.STARTED if state == "running" else EventKind(state)
        data = {"state": state} if at == (1, 1) else row(task, state)
        await snapshots.apply([event(task, at, kind, data)])
        view = await snapshots.read_since(TENANT, task, before)
        assert view is not None
        chain = view.after(before)
        assert chain is not None
        assert [one.at for one in chain] == [place for _, place in states[1 : states.index((state, at)) + 1]]
        assert (json.loads(view.task)["state"], view.finished) == (state, state == "succeeded")


async def test_a_short_task_is_one_small_key(snapshots: Snapshots, redis: Redis) -> None:
    task = UUID(str(uuid7()))
    await snapshots.apply(
        [
            event(task, (0, 0), EventKind.QUEUED, row(task, "queued")),
            event(task, (1, 1), EventKind.SUCCEEDED, row(task, "succeeded"), merged=1),
        ]
    )
    key = key_of(TENANT, task)
    assert await redis.keys(f"{key}*") == [key.encode()]
    assert FINISHED_TTL_S - 5 < await redis.ttl(key) <= FINISHED_TTL_S
    view = await snapshots.read_since(TENANT, task, Position(0, 0))
    assert view is not None
    assert [one.kind for one in view.after(Position(0, 0)) or []] == ["succeeded"]


async def test_an_older_version_may_write_parts_beside_a_whole_task(snapshots: Snapshots, redis: Redis) -> None:
    task = UUID(str(uuid7()))
    key = key_of(TENANT, task)
    await snapshots.apply([event(task, (0, 0), EventKind.QUEUED, row(task, "queued"))])
    # It knows nothing of @h.
    await redis.hset(key, mapping={"@e": "1", "@s": "3", "@le": "1", "@ls": "0", "state": '"running"', "epoch": "1"})
    view = await snapshots.read(TENANT, task)
    assert view is not None
    assert (view.at, view.complete, json.loads(view.task)["state"]) == ((1, 3), False, "running")
    assert await snapshots.apply([event(task, (1, 2), EventKind.PROGRESS, {"progress": {"done": 1}})]) == 0
    assert await snapshots.apply([event(task, (1, 4), EventKind.SUCCEEDED, row(task, "succeeded"))]) == 1
    [standing] = await snapshots.positions([(TENANT, task)])
    assert standing == ((1, 4), True, True)


async def test_names_that_are_ours_cannot_be_patched(snapshots: Snapshots) -> None:
    task = Living()
    forged = event(task.id, (1, 0), EventKind.STARTED, {"@e": 99, "@base": "1", "state": "running"})
    await snapshots.apply([forged])
    view = await snapshots.read(TENANT, task.id)
    assert view is not None
    shown = {"id": str(task.id), "state": "running", "epoch": 1}
    assert (view.at, orjson.loads(view.task)) == ((1, 0), shown)
    assert not view.complete


async def test_a_late_first_event_completes_the_snapshot(snapshots: Snapshots) -> None:
    task = Living()
    first, second = task.queued(), task.started()
    assert await snapshots.apply([second, first]) == 1
    view = await snapshots.read(TENANT, task.id)
    assert view is not None
    assert view.complete
    assert orjson.loads(view.task) == task.task


async def test_redis_away_is_said_within_seconds_and_found_back(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})
    redis = connect(nowhere)
    snapshots = Snapshots(redis)
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="Nothing is lost"):
            await snapshots.apply([Living().queued()])
    assert not snapshots.healthy
    await redis.aclose()


def log(task: UUID, at: tuple[int, int], message: str) -> Event:
    return event(task, at, EventKind.LOG, {"level": "info", "message": message, "fields": {}})


class TestWhatIsStreamed:
    async def test_is_kept_where_progress_cannot_push_it_out(self, snapshots: Snapshots) -> None:
        task = UUID(str(uuid7()))
        await snapshots.apply(
            [event(task, (1, 0), EventKind.STARTED, row(task, "running")), log(task, (1, 1), "first")]
        )
        ticks = [event(task, (1, seq), EventKind.PROGRESS, {"progress": {"done": seq}}) for seq in range(2, 1000)]
        await snapshots.apply(ticks)
        view = await snapshots.read(TENANT, task, tail=10)
        assert view is not None
        assert view.at == Position(1, 999)
        assert [json.loads(each) for each in view.tail] == [
            {"at": [1, 1], "kind": "log", "data": {"level": "info", "message": "first", "fields": {}}}
        ]

    async def test_comes_oldest_first_the_last_so_many_and_only_if_asked_for(self, snapshots: Snapshots) -> None:
        task = UUID(str(uuid7()))
        await snapshots.apply([log(task, (1 + seq // 200, seq % 200), f"line {seq}") for seq in range(400)])
        view, without = await snapshots.read(TENANT, task, tail=3), await snapshots.read(TENANT, task)
        assert view is not None
        assert without is not None
        assert [json.loads(each)["data"]["message"] for each in view.tail] == ["line 397", "line 398", "line 399"]
        assert json.loads(view.tail[-1])["at"] == [2, 199]
        assert without.tail == ()

    async def test_twice_is_kept_once(self, snapshots: Snapshots) -> None:
        task = UUID(str(uuid7()))
        for _ in range(2):
            await snapshots.apply([log(task, (1, seq), str(seq)) for seq in range(3)])
        view = await snapshots.read(TENANT, task, tail=256)
        assert view is not None
        assert len(view.tail) == 3

    async def test_is_bounded_in_number(self, snapshots: Snapshots, redis: Redis) -> None:
        task = UUID(str(uuid7()))
        await snapshots.apply([log(task, (1, seq), str(seq)) for seq in range(5000)])
        assert 256 <= await redis.xlen(key_of(TENANT, task) + ":s") < 512

    async def test_goes_with_its_snapshot(self, snapshots: Snapshots, redis: Redis) -> None:
        """Whether the end comes as a patch or as the whole task."""
        for end in ({"state": "succeeded"}, None):
            task = UUID(str(uuid7()))
            key = key_of(TENANT, task)
            await snapshots.apply(
                [event(task, (1, 0), EventKind.STARTED, row(task, "running")), log(task, (1, 1), "a")]
            )
            assert OPEN_TTL_S - 60 < await redis.ttl(key + ":s") <= OPEN_TTL_S
            await snapshots.apply([event(task, (1, 2), EventKind.SUCCEEDED, end or row(task, "succeeded"))])
            for name in (key, key + ":h", key + ":s"):
                assert FINISHED_TTL_S - 60 < await redis.ttl(name) <= FINISHED_TTL_S

    async def test_is_kept_although_the_snapshot_was_moved_past_it_from_postgres(
        self, snapshots: Snapshots, redis: Redis
    ) -> None:
        task = UUID(str(uuid7()))
        await snapshots.seed(TENANT, row(task, "succeeded") | {"epoch": 1}, Position(1, 9))
        for _ in range(2):
            assert await snapshots.apply([log(task, (1, 1), "late"), log(task, (1, 2), "later")]) == 0
        view = await snapshots.read(TENANT, task, tail=10)
        assert view is not None
        assert [json.loads(each)["data"]["message"] for each in view.tail] == ["late", "later"]
        assert 0 < await redis.ttl(key_of(TENANT, task) + ":s") <= FINISHED_TTL_S

    async def test_costs_other_tasks_no_key(self, snapshots: Snapshots, redis: Redis) -> None:
        task = UUID(str(uuid7()))
        start = event(task, (1, 0), EventKind.STARTED, row(task, "running"))
        progress = event(task, (1, 1), EventKind.PROGRESS, {"progress": {"done": 1}})
        await snapshots.apply([start, progress, event(task, (1, 2), EventKind.SUCCEEDED, row(task, "succeeded"))])
        assert sorted(await redis.keys()) == [key_of(TENANT, task).encode(), (key_of(TENANT, task) + ":h").encode()]


class TestTheAge:
    @pytest.mark.parametrize("last", [EventKind.STARTED, EventKind.PROGRESS, EventKind.LOG, EventKind.SUCCEEDED])
    async def test_is_counted_from_the_last_event_of_any_kind(
        self, snapshots: Snapshots, redis: Redis, last: EventKind
    ) -> None:
        task = UUID(str(uuid7()))
        await snapshots.apply([event(task, (1, 0), EventKind.STARTED, row(task, "running"))])
        if last is not EventKind.STARTED:
            data = {"state": "succeeded"} if last is EventKind.SUCCEEDED else {"progress": {"done": 1}}
            await self.time_passes(redis, task, 100)
            await snapshots.apply([event(task, (1, 1), last, data)])
        fresh = await snapshots.read(TENANT, task)
        await self.time_passes(redis, task, 100)
        later = await snapshots.read(TENANT, task)
        assert fresh is not None
        assert fresh.age is not None
        assert fresh.age < 50
        assert later is not None
        assert later.age is not None
        assert later.age >= 100

    async def time_passes(self, redis: Redis, task: UUID, seconds: int) -> None:
        """Bring what Redis has of a task as much nearer to its end as that time would."""
        key = key_of(TENANT, task)
        assert await redis.pexpire(key, await redis.pttl(key) - seconds * 1000)
