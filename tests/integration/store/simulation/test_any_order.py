"""Whatever is claimed, stolen, renewed, lost, cancelled, retried and told in whatever order: ownership holds.

One step at a time against a real Postgres; after each, the database is what the model says, to the row. Time passes
only when a step says so: leases, delays and expiries are an hour, and a step moves one of them into the past.

`SIMULATION_TIMES=N` looks at N times as many histories, new ones each time.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as profile
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from milepost.domain.states import Actor
from milepost.runtime.settings import Settings
from milepost.store import Held, open_pool
from milepost.store.connection import Pool
from milepost_schemas.task import TaskState as S
from tests.integration.store.simulation.hands import HOUR, Hands, World, chosen, pick, picks, workers
from tests.integration.store.simulation.journal import AllOfIt, journal, stores
from tests.integration.store.simulation.model import TERMINAL

TIMES = int(os.environ.get("SIMULATION_TIMES", "1"))
pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600 if TIMES > 1 else 600)]

TASKS = """
select id, state, epoch, attempt, seq, worker, cancel_requested_at is not null as asked, result #>> '{}' as result,
    error ->> 'type' as error, coalesce(due_at <= now(), false) as due, coalesce(lease_until < now(), false) as lapsed,
    coalesce(expires_at <= now(), false) as late, finished_at is not null as finished
from milepost.tasks order by id
"""
A_LIFE_BEFORE = """
update milepost.tasks
set expires_at = expires_at - interval '100 hours', created_at = created_at - interval '100 hours',
    replayed_at = replayed_at - interval '100 hours'
where id = $1
"""
often = st.sampled_from([True, True, False])


class Ownership(Hands):
    """And what passes, time and publishers do."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.ever_told: list[Held] = []
        self.read = 0

    # -- passes

    def passes(self, rows: list[Any], may: list[UUID], limit: int, move: Callable[[UUID], None]) -> None:
        """A pass takes as many as it may of those it may, and returns them as they are after it."""
        assert {row["id"] for row in rows} <= set(may)
        assert len(rows) == min(limit, len(may))
        for row in rows:
            move(row["id"])
            task = self.model.tasks[row["id"]]
            assert (row["state"], row["epoch"]) == (task.state, task.epoch)
            self.hint(row["id"])

    @precondition(lambda self: self.model.lost())
    @rule(limit=st.integers(1, 3))
    def sweeps(self, limit: int) -> None:
        may = self.model.lost()
        self.passes(self.do(self.world.sweeper.sweep(limit)), may, limit, self.model.sweep)

    @rule()
    def a_sweeper_looks_who_is_absent(self) -> None:
        seen = self.do(self.world.sweeper.absent())
        assert {sighting.worker for sighting in seen} == self.model.present - self.model.locks
        self.sightings |= dict.fromkeys(seen, True)

    @precondition(lambda self: self.owners())
    @rule(which=pick, back=st.sampled_from(["no", "no", "says so", "has its lock"]), limit=st.integers(1, 3))
    def a_worker_is_missed(self, which: int, back: str, limit: int) -> None:
        """And may be back before the sweeper acts on it, which may have stood still meanwhile."""
        (held,) = chosen(self.owners(), [which])
        worker = self.model.owners[held]
        self.lock(worker, locked=False)
        self.beat(worker, said=True)
        self.a_sweeper_looks_who_is_absent()
        if back == "says so":
            self.beat(worker, said=True)
        if back == "has its lock":
            self.lock(worker, locked=True)
        self.sweeps_what_the_dead_ran([0, 1, 2, 3], limit)

    @precondition(lambda self: self.sightings)
    @rule(which=picks, limit=st.integers(1, 3))
    def sweeps_what_the_dead_ran(self, which: list[int], limit: int) -> None:
        """Dead is who was seen without a lock, has none now, and said nothing in between."""
        sightings = chosen(list(self.sightings), which)
        dead = {each.worker for each in sightings if self.sightings[each]} & (self.model.present - self.model.locks)
        may = self.model.lost(dead)
        self.passes(self.do(self.world.sweeper.sweep(limit, sightings)), may, limit, self.model.sweep)

    @precondition(lambda self: self.some(lambda t: t.state is S.SCHEDULED and t.due))
    @rule(limit=st.integers(1, 3))
    def comes_due(self, limit: int) -> None:
        may = self.model.waiting()
        self.passes(self.do(self.world.passes.due(limit)), may, limit, self.model.queue)

    @precondition(lambda self: self.some(lambda t: t.late))
    @rule(limit=st.integers(1, 3))
    def expires(self, limit: int) -> None:
        may = self.model.overdue()
        self.passes(self.do(self.world.passes.expire(limit)), may, limit, self.model.expire)

    # -- time; often the pass it is for comes next, sometimes much happens before

    @precondition(lambda self: self.owners())
    @rule(which=picks, sweep=often)
    def leases_run_out(self, which: list[int], *, sweep: bool) -> None:
        for held in chosen(self.owners(), which):
            self.when("lease_until", held.id)
            self.model.tasks[held.id].lapsed = True
        if sweep:
            self.sweeps(3)

    @precondition(lambda self: self.some(lambda t: t.state is S.SCHEDULED and not t.due))
    @rule(which=picks, queue=often)
    def the_hour_of_a_delay_passes(self, which: list[int], *, queue: bool) -> None:
        for id_ in chosen([task.id for task in self.some(lambda t: t.state is S.SCHEDULED)], which):
            self.when("due_at", id_)
            self.model.tasks[id_].due = True
        if queue:
            self.comes_due(3)

    @precondition(lambda self: self.some(lambda t: t.expires and not t.late))
    @rule(which=pick, expire=often)
    def the_hour_of_an_expiry_passes(self, which: int, *, expire: bool) -> None:
        for id_ in chosen([task.id for task in self.some(lambda t: t.expires and not t.late)], [which]):
            # All of its hour: what a replay gives it anew is counted from its submission.
            self.do(self.world.pool.execute(A_LIFE_BEFORE, id_))
            self.model.tasks[id_].late = True
        if expire:
            self.expires(3)

    @precondition(lambda self: self.some(lambda t: t.state is S.QUEUED and not t.old))
    @rule(which=picks, worker=workers, steal=often)
    def stands_in_its_queue_for_long(self, which: list[int], worker: UUID, *, steal: bool) -> None:
        for id_ in chosen([task.id for task in self.some(lambda t: t.state is S.QUEUED)], which):
            self.when("queued_at", id_)
            self.model.tasks[id_].old = True
        if steal:
            self.steals(worker, 3)

    # -- completions

    @precondition(lambda self: self.model.outbox)
    @rule(limit=st.integers(1, 3), hold=st.booleans())
    def completions_are_taken(self, limit: int, *, hold: bool) -> None:
        """And published; whoever did may die before it deletes them, and then they are held until their time is up."""
        free = {held for held, taken in self.model.outbox.items() if not taken}
        rows = self.do(self.world.worker.take_outbox(0.0, limit, HOUR if hold else 0.0))
        got = [Held(row["id"], row["epoch"]) for row in rows]
        assert set(got) <= free
        assert len(got) == min(limit, len(free))
        for row, held in zip(rows, got, strict=True):
            # As it was, also if it was replayed meanwhile.
            assert (row["state"], row["epoch"]) == (self.model.ended[held], held.epoch)
            self.model.outbox[held] = hold
        self.ever_told += got

    @precondition(lambda self: self.ever_told)
    @rule(which=picks)
    def completions_are_acknowledged(self, which: list[int]) -> None:
        """Also twice."""
        acknowledged = chosen(self.ever_told, which)
        self.do(self.world.worker.delete_outbox(acknowledged))
        for held in acknowledged:
            self.model.outbox.pop(held, None)

    @precondition(lambda self: any(self.model.outbox.values()))
    @rule()
    def a_publishers_hold_runs_out(self) -> None:
        self.do(self.world.pool.execute("update milepost.outbox set taken_until = now() - interval '1 second'"))
        self.model.outbox = dict.fromkeys(self.model.outbox, False)

    # -- what holds after every step

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        self.do(self.compare())

    async def compare(self) -> None:
        self.read, moves = await journal(self.world.pool, self.read)
        assert sorted(moves, key=str) == sorted(self.model.moves, key=str)
        self.model.moves.clear()
        rows = await self.world.pool.fetch(TASKS)
        assert [row["id"] for row in rows] == sorted(self.model.tasks) == sorted(self.accepted)
        for row in rows:
            task = self.model.tasks[row["id"]]
            for column in ("state", "epoch", "attempt", "seq", "worker", "asked", "result", "error", "lapsed", "late"):
                assert row[column] == getattr(task, column), f"{column} of {task}"
            if task.state is S.SCHEDULED:
                assert row["due"] == task.due, f"due_at of {task}"
            assert row["finished"] == (task.state in TERMINAL), f"finished_at of {task}"
        outbox = await self.world.pool.fetch("select task_id, epoch from milepost.outbox")
        assert {Held(*row.values()) for row in outbox} == set(self.model.outbox)
        assert len(outbox) == len(self.model.outbox)
        trees = await self.world.pool.fetch("select task_id from milepost.cancellations")
        assert {row["task_id"] for row in trees} == self.model.cancellations
        history = await self.world.pool.fetch("select task_id, epoch, attempt, outcome from milepost.attempts")
        assert {Held(*tuple(row)[:2]): tuple(row)[2:] for row in history} == self.model.history

    @invariant()
    def every_end_is_told_or_will_be(self) -> None:
        assert set(self.model.ended) == set(self.ever_told) | set(self.model.outbox)


def test_ownership_holds_in_any_order(settings: Settings) -> None:
    async def opened(stack: AsyncExitStack) -> tuple[Pool, Mapping[Actor, AllOfIt]]:
        pool = await open_pool(settings, "test", size=1)
        stack.push_async_callback(pool.close)
        return pool, await stack.enter_async_context(stores(settings, 1))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            world = World(runner.run, *runner.run(opened(stack)))  # type: ignore[arg-type]
            run_state_machine_as_test(
                lambda: Ownership(world),  # type: ignore[arg-type]  # its own words: a class or a factory
                settings=profile(
                    max_examples=60 * TIMES,
                    stateful_step_count=50,
                    derandomize=TIMES == 1,
                    database=None,
                    print_blob=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
