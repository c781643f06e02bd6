"""What api and workers do to a store and to its model, one step at a time; and what they keep, however old it gets."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import hypothesis.strategies as st
import orjson
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from milepost.domain.limits import EACH, Limit, Limits, Name, Scope
from milepost.domain.presence import Sighting
from milepost.domain.states import Actor
from milepost.store import Claimed, Finish, GivenUp, Held, Moved, NewTask, Release, Retry, WorkerBeat
from milepost.store.by_turns import ByTurns
from milepost.store.connection import Pool
from milepost.store.records import PRIORITIES
from milepost.store.session import presence_key
from milepost_api.trees import Trees
from milepost_schemas.task import Priority
from milepost_schemas.task import TaskState as S
from tests.integration.store.conftest import new_task
from tests.integration.store.simulation.journal import EMPTY, AllOfIt
from tests.integration.store.simulation.model import Model, Task

HOUR = 3600.0
FEW = 6
"""So many submissions make a history: the fewer the tasks, the more happens to each."""
WORKERS = [UUID(int=0xA0 + n) for n in range(3)]
T = TypeVar("T")
picks = st.lists(st.integers(0, 11), min_size=1, max_size=3)
"""Which of what has been made so far, counted from the newest."""
pick = st.integers(0, 11)
seldom = st.sampled_from([False, False, True])
seqs = st.integers(0, 5)
ends = st.sampled_from([S.SUCCEEDED, S.FAILED, S.CANCELLED])
workers = st.sampled_from(WORKERS)


def chosen(items: list[T], which: list[int]) -> list[T]:
    """Return those items, each once."""
    return list(dict.fromkeys(items[-1 - n % len(items)] for n in which))


class Heard:
    """Takes down what is told of descendants that were cancelled, in an announcer's place."""

    def __init__(self) -> None:
        self.over: list[Any] = []
        self.asked: list[UUID] = []

    def ended(self, row: Any) -> None:
        """One that nobody ran."""
        self.over.append(row)

    def cancel_request(self, task: UUID, _tenant: str, _traceparent: str | None) -> None:
        """One that somebody runs."""
        self.asked.append(task)


def failure(kind: str) -> str:
    """Return an error as a worker writes it."""
    return orjson.dumps({"type": kind, "message": "", "retryable": True}).decode()


def beat_of(worker: UUID, *, presence: bool) -> WorkerBeat:
    """Return what a worker says of itself."""
    return WorkerBeat(worker, "w", "h", 1, "1", ["default"], ["t.x"], 4, 0, draining=False, presence=presence)


class World:
    """Connections that outlive the histories run over them."""

    def __init__(self, run: Callable[[Awaitable[Any]], Any], pool: Pool, stores: Mapping[Actor, AllOfIt]) -> None:
        self.run = run
        self.pool = pool
        self.api = stores[Actor.API]
        self.worker = stores[Actor.WORKER]
        self.sweeper = stores[Actor.SWEEPER]
        self.passes = stores[Actor.DUE_PASS]


class Hands(RuleBasedStateMachine):
    """A store, its model, and what simulated workers and publishers have in their hands, however old."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.model = Model()
        self.submissions: list[NewTask] = []
        self.hints: list[Held] = []
        self.grants: list[Held] = []
        self.accepted: set[UUID] = set()
        self.sightings: dict[Sighting, bool] = {}
        """Workers that were seen without their lock; whether they have said nothing since."""
        self.do(world.pool.execute(EMPTY))
        self.do(world.pool.execute("select pg_advisory_unlock_all()"))

    def do(self, asked: Awaitable[T]) -> T:
        done: T = self.world.run(asked)
        return done

    def when(self, column: str, task: UUID) -> None:
        """Move a time of a task into the past."""
        self.do(
            self.world.pool.execute(
                f"update milepost.tasks set {column} = now() - interval '1 hour' where id = $1",  # noqa: S608
                task,
            )
        )

    def good_hints(self) -> list[Held]:
        return [hint for hint in self.hints if self.model.claimable(hint)]

    def owners(self) -> list[Held]:
        return [held for held in self.grants if self.model.owned(held)]

    def zombies(self) -> list[Held]:
        """Epochs that are over; of tasks that run elsewhere by now, if there are any: there it is dangerous."""
        over = [held for held in self.grants if not self.model.owned(held)]
        return [held for held in over if self.model.tasks[held.id].state is S.RUNNING] or over

    def hint(self, id_: UUID) -> None:
        task = self.model.tasks[id_]
        if task.state is S.QUEUED:
            self.hints.append(task.held)

    # -- the api

    @initialize(count=st.integers(1, 3), max_attempts=st.integers(1, 3))
    def submits_some(self, count: int, max_attempts: int) -> None:
        self.submits([None] * count, max_attempts, later=False, expires=False)

    @precondition(lambda self: len(self.submissions) < FEW)
    @rule(
        below=st.one_of(st.none(), pick),
        keys=st.lists(st.sampled_from([None, None, "a", "b"]), min_size=1, max_size=3),
        max_attempts=st.integers(1, 3),
        priority=st.sampled_from(Priority),
        later=seldom,
        expires=seldom,
    )
    def submits(
        self,
        keys: list[str | None],
        max_attempts: int,
        below: int | None = None,
        priority: Priority = Priority.NORMAL,
        *,
        later: bool,
        expires: bool,
    ) -> None:
        parent = None if below is None or not self.model.tasks else chosen(list(self.model.tasks), [below])[0]
        new = [
            new_task(
                id=UUID(int=1 + len(self.submissions) + n),
                idempotency_key=key,
                parent_id=parent,
                priority=priority,
                key=None if n == 0 else f"key {n}",
                max_attempts=max_attempts,
                delay=HOUR if later else None,
                expires_in=HOUR if expires else None,
            )
            for n, key in enumerate(keys)
        ]
        self.submissions += new
        self.submit(new)

    @precondition(lambda self: self.submissions)
    @rule(which=picks)
    def submits_again(self, which: list[int]) -> None:
        """The connection broke in the commit: nobody knew whether it was stored."""
        self.submit(chosen(self.submissions, which))

    def submit(self, new: list[NewTask]) -> None:
        expected = [
            self.model.submit(
                t.id,
                t.idempotency_key,
                t.max_attempts,
                t.parent_id,
                PRIORITIES[t.priority],
                t.key,
                later=t.delay is not None,
                expires=t.expires_in is not None,
            )
            for t in new
        ]
        told = self.do(self.world.api.submit(new))
        assert [t.id for t in told] == expected
        self.accepted |= set(expected)
        for t, submitted in zip(new, told, strict=True):
            task = self.model.tasks[submitted.id]
            assert submitted.state is task.state
            assert (submitted.before is None) == (submitted.id == t.id)
            if submitted.before is None:
                self.hint(submitted.id)

    @rule(which=pick, running=st.booleans(), dies=seldom)
    def cancels(self, which: int, *, running: bool, dies: bool) -> None:
        """The api may die before it has seen to what is below."""
        some = [held.id for held in self.owners()] if running else []
        (id_,) = chosen(some or list(self.model.tasks), [which])
        moved, tree = self.model.cancel(id_)
        outcome = self.do(self.world.api.cancel("default", id_))
        assert outcome is not None
        assert (outcome.moved, outcome.tree) == (moved, tree)
        assert outcome.row["state"] == self.model.tasks[id_].state
        assert outcome.row["epoch"] == self.model.tasks[id_].epoch
        if tree and not dies:
            self.sees_to(id_)

    def sees_to(self, root: UUID) -> None:
        """Cancel what is below a task, by the api's own hand."""
        heard: Any = Heard()
        ended, asked = self.model.see_to(root)
        self.do(Trees(self.world.api, heard).at_once("default", root))
        assert {row["id"] for row in heard.over} == ended
        assert set(heard.asked) == asked
        for row in heard.over:
            assert (row["state"], row["epoch"]) == (S.CANCELLED, self.model.tasks[row["id"]].epoch)

    @precondition(lambda self: self.model.cancellations)
    @rule(limit=st.integers(1, 3), dies=seldom)
    def trees_are_looked_at_again(self, limit: int, *, dies: bool) -> None:
        self.do(self.world.pool.execute("update milepost.cancellations set taken_until = now() - interval '1 second'"))
        taken = self.do(self.world.api.take_cancellations(limit, HOUR))
        assert {root for root, _ in taken} <= self.model.cancellations
        assert len(taken) == min(limit, len(self.model.cancellations))
        for root, _ in [] if dies else taken:
            self.sees_to(root)

    @precondition(lambda self: self.some(lambda t: t.state in {S.FAILED, S.CANCELLED}))
    @rule(
        which=picks,
        states=st.sampled_from([[S.FAILED], [S.FAILED, S.CANCELLED]]),
        replay=st.sampled_from([UUID(int=0xE0), UUID(int=0xE1)]),
        paced=st.booleans(),
    )
    def replays(self, which: list[int], states: list[S], replay: UUID, *, paced: bool) -> None:
        """Also of what is not over, or was replayed already: then nothing happens to it."""
        over = [task.id for task in self.some(lambda t: t.state in {S.FAILED, S.CANCELLED})]
        ids = list(dict.fromkeys([*chosen(over, which), *chosen(list(self.model.tasks), which)]))
        expected = self.model.replay(ids, replay, states, paced=paced)
        rows = self.do(self.world.api.replay("default", ids, replay, HOUR if paced else 0.0, states))
        assert sorted(row["id"] for row in rows) == expected
        for row in rows:
            task = self.model.tasks[row["id"]]
            assert (row["state"], row["epoch"]) == (task.state, task.epoch)
            self.hint(task.id)

    # -- workers

    @precondition(lambda self: self.good_hints())
    @rule(worker=workers, which=picks)
    def claims(self, worker: UUID, which: list[int]) -> None:
        self.claim(worker, chosen(self.good_hints(), which))

    @precondition(lambda self: len(self.hints) > len(self.good_hints()))
    @rule(worker=workers, which=picks, bend=st.sampled_from([0, 0, -1, 1]))
    def claims_by_old_hints(self, worker: UUID, which: list[int], bend: int) -> None:
        """By hints that were used before, come late, or name an epoch that never was."""
        self.claim(worker, [Held(hint.id, hint.epoch + bend) for hint in chosen(self.hints, which)])

    def claim(self, worker: UUID, wanted: list[Held]) -> None:
        expected = {hint.id for hint in wanted if self.model.claimable(hint)}
        got = self.do(self.world.worker.claim(worker, HOUR, [*wanted, wanted[0]]))
        assert {claimed.id for claimed in got} == expected
        assert len(got) == len(expected)
        self.take(worker, got)

    @precondition(lambda self: self.some(lambda t: t.state is S.QUEUED and t.old))
    @rule(worker=workers, limit=st.integers(1, 3))
    def steals(self, worker: UUID, limit: int) -> None:
        stealable = {t.id for t in self.some(lambda t: t.state is S.QUEUED and t.old and not t.late)}
        got = self.takes(worker, limit, 60.0)
        assert {claimed.id for claimed in got} <= stealable
        assert len(got) == min(limit, len(stealable))
        self.take(worker, got)

    @precondition(lambda self: self.some(lambda t: t.state is S.QUEUED))
    @rule(worker=workers, limit=st.integers(1, 3))
    def takes_whose_turn_it_is(self, worker: UUID, limit: int) -> None:
        """Whether or not it got a hint: what is most urgent first."""
        waits = self.some(lambda t: t.state is S.QUEUED and not t.late)
        got = self.takes(worker, limit, 0.0)
        assert {claimed.id for claimed in got} <= {task.id for task in waits}
        assert len(got) == min(limit, len(waits))
        taken = {claimed.id for claimed in got}
        left = [task.priority for task in waits if task.id not in taken]
        assert all(claimed.priority <= min(left, default=2) for claimed in got)
        self.take(worker, got)

    @precondition(lambda self: self.some(lambda t: t.state is S.QUEUED and t.key is not None))
    @rule(worker=workers, limit=st.integers(1, 3), most=st.integers(1, 2))
    def takes_what_limits_have_room_for(self, worker: UUID, limit: int, most: int) -> None:
        """So many tasks of each key at once, whoever runs them; those without a key are under none."""
        limits = Limits([Limit(Name("default", Scope.KEY, EACH), concurrency=most)])
        waits = self.some(lambda t: t.state is S.QUEUED and not t.late)
        before = Counter(t.key for t in self.some(lambda t: t.state is S.RUNNING))
        got = self.takes(worker, limit, 0.0, limits)
        self.take(worker, got)
        after = Counter(t.key for t in self.some(lambda t: t.state is S.RUNNING))
        for key in after.keys() - {None}:
            assert after[key] <= max(most, before[key])
        if len(got) < limit:
            left = {t.id for t in waits} - {claimed.id for claimed in got}
            assert all(after[self.model.tasks[id_].key] >= most for id_ in left), "there was room"
            assert all(self.model.tasks[id_].key is not None for id_ in left)

    def takes(self, worker: UUID, limit: int, older_than_s: float, limits: Limits | None = None) -> list[Claimed]:
        """Have a worker that was never here take by turns until it has as many as it wants or there are no more."""
        turns = ByTurns(self.world.worker, worker, HOUR, ["default"], ["t.x"])
        turns.limits = limits or Limits()
        got: list[Claimed] = []
        more = True
        while more and len(got) < limit:
            some, more = self.do(turns.take(limit - len(got), older_than_s))
            got += some
        return got

    def take(self, worker: UUID, got: list[Claimed]) -> None:
        for claimed in got:
            held = self.model.claim(claimed.id, worker)
            assert (claimed.held, claimed.attempt) == (held, self.model.tasks[claimed.id].attempt)
            self.grants.append(held)

    @precondition(lambda self: self.owners())
    @rule(which=picks, seq=seqs)
    def renews(self, which: list[int], seq: int) -> None:
        self.renew(chosen(self.owners(), which), seq)

    @precondition(lambda self: self.owners())
    @rule(which=picks, ahead=seqs, state=ends)
    def finishes(self, which: list[int], ahead: int, state: S) -> None:
        self.finish(chosen(self.owners(), which), ahead, state)

    @precondition(lambda self: self.owners())
    @rule(which=picks, ahead=seqs, now=st.booleans())
    def retries(self, which: list[int], ahead: int, *, now: bool) -> None:
        self.retry(chosen(self.owners(), which), ahead, now=now)

    @precondition(lambda self: self.owners())
    @rule(which=picks, ahead=seqs)
    def releases(self, which: list[int], ahead: int) -> None:
        self.release(chosen(self.owners(), which), ahead)

    @precondition(lambda self: self.zombies())
    @rule(
        what=st.sampled_from(["renew", "finish", "finish", "retry", "release", "abandon"]),
        which=picks,
        owner_too=st.booleans(),
        ahead=seqs,
        state=ends,
    )
    def zombies_write(self, what: str, which: list[int], ahead: int, state: S, *, owner_too: bool) -> None:
        """Workers that were paused, cut off or slow; one batch may hold what is owned, too."""
        helds = chosen(self.zombies(), which) + (self.owners()[-1:] if owner_too else [])
        match what:
            case "renew":
                self.renew(helds, ahead)
            case "finish":
                self.finish(helds, ahead, state)
            case "retry":
                self.retry(helds, ahead, now=True)
            case "release":
                self.release(helds, ahead)
            case "abandon":
                self.abandon(helds, counts=state is S.FAILED)

    @precondition(lambda self: self.owners())
    @rule(which=picks, counts=st.booleans(), late=st.booleans())
    def abandons(self, which: list[int], *, counts: bool, late: bool) -> None:
        """And a renewal from before may arrive after it."""
        helds = chosen(self.owners(), which)
        self.abandon(helds, counts=counts)
        if late:
            self.renew(helds, 0)

    def abandon(self, helds: list[Held], *, counts: bool) -> None:
        reason = "LoopBlocked" if counts else "Released"
        expected = {held for held in helds if self.model.abandon(held, reason, counts=counts)}
        got = self.do(self.world.worker.abandon([GivenUp(held, failure(reason), counts) for held in helds]))
        assert got == expected

    @rule(worker=workers, locked=st.booleans(), said=st.booleans())
    def says_whether_it_is_present(self, worker: UUID, *, locked: bool, said: bool) -> None:
        """A worker takes its lock or loses it, and says that it has it, rightly or not."""
        self.lock(worker, locked=locked)
        self.beat(worker, said=said)

    def lock(self, worker: UUID, *, locked: bool) -> None:
        if locked != (worker in self.model.locks):
            take = "pg_advisory_lock" if locked else "pg_advisory_unlock"
            self.do(self.world.pool.execute(f"select {take}($1)", presence_key(worker)))
        (self.model.locks.add if locked else self.model.locks.discard)(worker)

    def beat(self, worker: UUID, *, said: bool) -> None:
        self.do(self.world.worker.beat(beat_of(worker, presence=said)))
        (self.model.present.add if said else self.model.present.discard)(worker)
        for sighting in self.sightings:
            if sighting.worker == worker:
                self.sightings[sighting] = False

    def renew(self, helds: list[Held], seq: int) -> None:
        expected = {held: cancel for held in helds if (cancel := self.model.renew(held, seq)) is not None}
        got = self.do(self.world.worker.renew(HOUR, [(held, seq, None) for held in helds]))
        assert {renewed.held: renewed.cancel for renewed in got} == expected

    def finish(self, helds: list[Held], ahead: int, state: S) -> None:
        rows, expected = [], []
        for held in helds:
            seq = self.model.tasks[held.id].seq + ahead
            # What is stored says which epoch made it.
            result = f"of epoch {held.epoch}" if state is S.SUCCEEDED else None
            error = None if state is S.SUCCEEDED else f"Error{held.epoch}"
            expected.append(self.model.finish(held, seq, state, result, error))
            written = None if result is None else orjson.dumps(result).decode()
            rows.append(Finish(held, seq, state, written, None if error is None else failure(error)))
        self.fenced(self.do(self.world.worker.finish(rows)), expected)

    def retry(self, helds: list[Held], ahead: int, *, now: bool) -> None:
        """Attempts that failed, and were not the last: the retry policy asks for no more than there are."""
        rows, expected = [], []
        for held in helds:
            task = self.model.tasks[held.id]
            if self.model.owned(held) and task.attempt >= task.max_attempts:
                continue
            seq, error = task.seq + ahead, f"Error{held.epoch}"
            expected.append(self.model.retry(held, seq, error, now=now))
            rows.append(Retry(held, seq, 0.0 if now else HOUR, failure(error)))
        self.fenced(self.do(self.world.worker.retry(rows)) if rows else [], expected)

    def release(self, helds: list[Held], ahead: int) -> None:
        rows = [Release(held, self.model.tasks[held.id].seq + ahead) for held in helds]
        expected = [self.model.release(row.held, row.seq) for row in rows]
        moved = self.do(self.world.worker.release(rows))
        self.fenced(moved, expected)
        for held, m in zip(helds, moved, strict=True):
            if m is not None:
                assert m.attempt == self.model.tasks[held.id].attempt
                self.hint(held.id)

    @staticmethod
    def fenced(moved: list[Moved | None], expected: list[S | None]) -> None:
        """Owners are told where their write led, zombies None; that it changed nothing is seen after the step."""
        assert [None if m is None else m.state for m in moved] == expected

    def some(self, check: Callable[[Task], bool]) -> list[Task]:
        return [task for task in self.model.tasks.values() if check(task)]
