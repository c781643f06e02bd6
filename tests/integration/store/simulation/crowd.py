"""Everybody at once: parties that share what they know, each with its own connections, dice and bad luck.

What each was told is kept, so that it can be held against what the database wrote down.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from milepost.domain.states import Actor
from milepost.errors import Unavailable
from milepost.store import Finish, GivenUp, Held, Moved, NewTask, Release, Retry
from milepost.store.by_turns import ByTurns
from milepost.store.connection import Pool
from milepost_api.trees import Trees
from milepost_schemas.task import Priority
from milepost_schemas.task import TaskState as S
from tests.integration.store.conftest import new_task
from tests.integration.store.simulation.hands import Heard, beat_of, failure
from tests.integration.store.simulation.journal import AllOfIt

HOUR = 3600.0
TRIES = 50
T = TypeVar("T")


class Wrote(NamedTuple):
    """A fenced write, what it carried and what it was told; None: fenced."""

    held: Held
    nonce: str | None
    moved: Moved | None


@dataclass(slots=True)
class Told:
    """What parties learnt, in the order it reached them."""

    submitted: list[tuple[NewTask, UUID]] = field(default_factory=list)
    granted: list[tuple[Held, UUID, int]] = field(default_factory=list)
    wrote: list[Wrote] = field(default_factory=list)
    lost: list[Held] = field(default_factory=list)
    cancelled: list[tuple[UUID, bool, Any]] = field(default_factory=list)
    published: list[Held] = field(default_factory=list)
    left: list[Held] = field(default_factory=list)
    replayed: list[Held] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)


class Crowd:
    """Parties over one store, and what they pass on to each other: hints and old epochs never go away."""

    def __init__(self, pool: Pool, stores: Mapping[Actor, AllOfIt], seed: int) -> None:
        self.pool = pool
        self.api = stores[Actor.API]
        self.worker = stores[Actor.WORKER]
        self.sweeper = stores[Actor.SWEEPER]
        self.passes = stores[Actor.DUE_PASS]
        self.told = Told()
        heard: Any = Heard()
        self.heard: Heard = heard
        self.trees = Trees(self.api, heard)
        self.seed = seed
        self.hints: list[Held] = []
        self.tasks: list[NewTask] = []

    async def run(self, rounds: int) -> None:
        """Let all parties act at once, until those that submit have done so `rounds` times."""
        over = asyncio.Event()
        parties: list[tuple[Callable[[Random], Awaitable[None]], int]] = [
            (self.works, 4), (self.sweeps, 2), (self.makes_due, 2), (self.cancels, 2), (self.publishes, 2),
            (self.makes_time_pass, 2), (self.replays, 1), (self.sees_to_trees, 1),
        ]  # fmt: skip

        async def party(act: Callable[[Random], Awaitable[None]], name: str) -> None:
            dice = Random(f"{self.seed} {name}")
            while not over.is_set():
                await act(dice)
                await asyncio.sleep(0)  # not everything they do waits for something

        async with asyncio.TaskGroup() as group:
            for act, count in parties:
                for n in range(count):
                    group.create_task(party(act, f"{act.__name__} {n}"))
            dice = [Random(f"{self.seed} submits {n}") for n in range(2)]
            for _ in range(rounds):
                await asyncio.gather(*map(self.submits, dice))
            over.set()

    @staticmethod
    async def repeated(asked: Callable[[], Awaitable[T]]) -> T:
        """Do it as services do it: again, if the database says not now (two that waited for each other, say)."""
        for _ in range(TRIES):
            try:
                return await asked()
            except Unavailable:
                continue
        raise AssertionError(f"unavailable {TRIES} times in a row")

    def some(self, dice: Random, items: list[T], most: int = 4) -> list[T]:
        """Pick some of the newest, each once."""
        recent = items[-24:]
        return list(dict.fromkeys(dice.choices(recent, k=dice.randint(1, most)))) if recent else []

    # -- parties

    async def submits(self, dice: Random) -> None:
        new = [
            new_task(
                idempotency_key=dice.choice([None, f"key {dice.randint(0, 9)}"]),
                parent_id=dice.choice(self.tasks[-12:]).id if self.tasks and dice.random() < 0.4 else None,
                max_attempts=dice.randint(1, 3),
                priority=dice.choice(list(Priority)),
                key=dice.choice([None, None, "a", "b"]),
                delay=HOUR if dice.random() < 0.2 else None,
                expires_in=HOUR if dice.random() < 0.4 else None,
            )
            for _ in range(dice.randint(1, 3))
        ]
        again = self.some(dice, self.tasks, 1) if dice.random() < 0.2 else []
        for task, submitted in zip(new + again, await self.repeated(lambda: self.api.submit(new + again)), strict=True):
            self.told.submitted.append((task, submitted.id))
            if submitted.id == task.id and task not in again:
                self.tasks.append(task)
                if submitted.state is S.QUEUED:
                    self.hints.append(Held(task.id, 0))

    async def works(self, dice: Random) -> None:
        """One of several that share an identity's worth of luck: each call is a worker of its own."""
        worker = UUID(int=dice.randint(1, 4))
        if dice.random() < 0.1:
            await self.repeated(partial(self.worker.beat, beat_of(worker, presence=True)))
        what = dice.random()
        if what < 0.35:
            got = await self.repeated(lambda: self.worker.claim(worker, HOUR, self.some(dice, self.hints)))
            self.told.granted += [(claimed.held, worker, claimed.attempt) for claimed in got]
        elif what < 0.5:
            turns = ByTurns(self.worker, worker, HOUR, ["default"], ["t.x"])
            older_than = dice.choice([0.0, 60.0])
            taken = await self.repeated(lambda: turns.take(3, older_than))
            self.told.granted += [(claimed.held, worker, claimed.attempt) for claimed in taken.claimed]
        elif grants := self.some(dice, self.told.granted):
            # Anybody's, so that the owner and its impostors of older epochs write at the same time.
            await self.writes(dice, grants)

    async def writes(self, dice: Random, grants: list[tuple[Held, UUID, int]]) -> None:
        what, seq = dice.choice(["renew", "finish", "finish", "retry", "release", "abandon"]), 10
        helds = [held for held, _, _ in grants]
        if what == "abandon":
            given = [GivenUp(held, failure("Released"), counts=dice.random() < 0.5) for held in helds]
            self.told.left += await self.repeated(lambda: self.worker.abandon(given))
            return
        if what == "renew":
            kept = await self.repeated(lambda: self.worker.renew(HOUR, [(held, 1, None) for held in helds]))
            self.told.lost += set(helds) - {renewed.held for renewed in kept}
            return
        nonces = [f"{held.epoch} {dice.getrandbits(64):x}" for held in helds]
        if what == "finish":
            states = [dice.choice([S.SUCCEEDED, S.FAILED, S.CANCELLED]) for _ in helds]
            rows = [
                Finish(held, seq, state, orjson.dumps(nonce).decode(), None)
                for held, state, nonce in zip(helds, states, nonces, strict=True)
            ]
            moved = await self.repeated(lambda: self.worker.finish(rows))
            self.told.wrote += [Wrote(*wrote) for wrote in zip(helds, nonces, moved, strict=True)]
            return
        if what == "retry":
            most = {task.id: task.max_attempts for task in self.tasks}
            again = [Retry(held, seq, 0.0, "{}") for held, _, attempt in grants if attempt < most[held.id]]
            moved = await self.repeated(lambda: self.worker.retry(again)) if again else []
            self.told.wrote += [Wrote(row.held, None, m) for row, m in zip(again, moved, strict=True)]
            return
        released = [Release(held, seq) for held in helds]
        moved = await self.repeated(lambda: self.worker.release(released))
        self.told.wrote += [Wrote(row.held, None, m) for row, m in zip(released, moved, strict=True)]
        self.hints += [row.held for row, m in zip(released, moved, strict=True) if m and m.state is S.QUEUED]

    async def sweeps(self, dice: Random) -> None:
        # Nobody here holds a presence lock, so all who say so are absent; now and then one of them counts as dead.
        absent = await self.repeated(self.sweeper.absent)
        dead = self.some(dice, absent, 1) if dice.random() < 0.2 else []
        self.queued(await self.repeated(lambda: self.sweeper.sweep(dice.randint(1, 5), dead)), "swept")

    async def makes_due(self, dice: Random) -> None:
        if dice.random() < 0.5:
            self.queued(await self.repeated(lambda: self.passes.due(dice.randint(1, 5))), "due")
        else:
            self.queued(await self.repeated(lambda: self.passes.expire(dice.randint(1, 5))), "expired")

    def queued(self, rows: list[Any], what: str) -> None:
        self.told.passed[what] += len(rows)
        self.hints += [Held(row["id"], row["epoch"]) for row in rows if row["state"] == S.QUEUED]

    async def cancels(self, dice: Random) -> None:
        if dice.random() < 0.7:
            return
        for task in self.some(dice, self.tasks, 1):
            outcome = await self.repeated(partial(self.api.cancel, "default", task.id))
            assert outcome is not None
            self.told.cancelled.append((task.id, outcome.moved, outcome.row))
            if outcome.tree and dice.random() < 0.7:
                await self.repeated(partial(self.trees.at_once, "default", task.id))

    async def sees_to_trees(self, dice: Random) -> None:
        """Whoever was to see to them is taken for dead, rightly or not."""
        await self.pool.execute("update milepost.cancellations set taken_until = now() - interval '1 second'")
        for root, tenant in await self.repeated(partial(self.api.take_cancellations, dice.randint(1, 3), HOUR)):
            await self.repeated(partial(self.trees.at_once, tenant, root))

    async def replays(self, dice: Random) -> None:
        if dice.random() < 0.7:
            return
        ids = [task.id for task in self.some(dice, self.tasks, 3)]
        replay, pace = UUID(int=dice.randint(0xE0, 0xE3)), dice.choice([0.0, HOUR])
        states = dice.choice([[S.FAILED], [S.FAILED, S.CANCELLED]])
        rows = await self.repeated(lambda: self.api.replay("default", ids, replay, pace, states))
        self.told.replayed += [Held(row["id"], row["epoch"]) for row in rows]
        self.hints += [Held(row["id"], row["epoch"]) for row in rows if row["state"] == S.QUEUED]

    async def publishes(self, dice: Random) -> None:
        """Some die before they delete what they published."""
        rows = await self.repeated(lambda: self.worker.take_outbox(0.0, 5, dice.choice([0.0, HOUR])))
        got = [Held(row["id"], row["epoch"]) for row in rows]
        assert all(row["state"] in {S.SUCCEEDED, S.FAILED, S.CANCELLED} for row in rows)
        self.told.published += got
        if got and dice.random() < 0.5:
            await self.repeated(lambda: self.worker.delete_outbox(got))

    async def makes_time_pass(self, dice: Random) -> None:
        column = dice.choice(["lease_until", "lease_until", "due_at", "expires_at", "expires_at", "queued_at"])
        for task in self.some(dice, self.tasks, 3):
            await self.pool.execute(
                f"update milepost.tasks set {column} = now() - interval '2 minutes' "  # noqa: S608
                f"where id = $1 and {column} is not null",
                task.id,
            )

    async def ends(self) -> None:
        """Let all time pass and all work be done, by one quiet worker."""
        while await self.pool.fetchval("select count(*) from milepost.cancellations"):
            await self.sees_to_trees(Random(0))
            await self.pool.execute(
                "update milepost.tasks set lease_until = now() - interval '2 minutes' where state = 'running'"
            )
            await self.sweeps(Random(0))
        while await self.pool.fetchval("select count(*) from milepost.tasks where finished_at is null"):
            await self.pool.execute(
                "update milepost.tasks set lease_until = now() - interval '2 minutes' where state = 'running'"
            )
            await self.pool.execute(
                "update milepost.tasks set due_at = now() - interval '2 minutes' where state = 'scheduled'"
            )
            await self.sweeps(Random(0))
            self.queued(await self.passes.due(100), "due")
            self.queued(await self.passes.expire(100), "expired")
            await self.pool.execute("update milepost.tasks set queued_at = now() - interval '2 minutes'")
            worker = UUID(int=9)
            got = (await ByTurns(self.worker, worker, HOUR, ["default"], ["t.x"]).take(100, 60.0)).claimed
            self.told.granted += [(claimed.held, worker, claimed.attempt) for claimed in got]
            rows = [Finish(c.held, 10, S.SUCCEEDED, orjson.dumps(f"{c.epoch} last").decode()) for c in got]
            if rows:
                moved = await self.worker.finish(rows)
                self.told.wrote += [Wrote(c.held, f"{c.epoch} last", m) for c, m in zip(got, moved, strict=True)]
