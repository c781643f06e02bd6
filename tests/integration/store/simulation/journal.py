"""A database that writes down every change of state or hands, and by whom; the store knows nothing of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from milepost.domain.states import TRANSITIONS, Actor
from milepost.runtime.settings import Settings
from milepost.store import Limited, open_pool
from milepost.store.cancellations import Cancellations
from milepost.store.connection import Pool
from milepost.store.deadletters import DeadLetters
from milepost_schemas.task import TaskState
from tests.integration.store.simulation.model import Move

JOURNAL = """
create table milepost.journal (
    number bigint generated always as identity primary key, id uuid not null, source text, target text not null,
    before int not null, epoch int not null, attempt int not null, actor text not null
);
create function milepost.write_down() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into milepost.journal (id, source, target, before, epoch, attempt, actor)
        values (new.id, null, new.state, 0, new.epoch, new.attempt, current_setting('application_name'));
    elsif (old.state, old.epoch, old.attempt) is distinct from (new.state, new.epoch, new.attempt) then
        insert into milepost.journal (id, source, target, before, epoch, attempt, actor)
        values (new.id, old.state, new.state, old.epoch, new.epoch, new.attempt, current_setting('application_name'));
    end if;
    return null;
end $$;
create trigger write_down after insert or update on milepost.tasks
    for each row execute function milepost.write_down();
"""

EMPTY = """
truncate milepost.tasks, milepost.attempts, milepost.outbox, milepost.cancellations, milepost.replays, milepost.workers,
    milepost.limits, milepost.paces, milepost.journal restart identity
"""
_NAMES = {f"milepost-{actor.value}": actor for actor in Actor}
_LEGAL = {(t.source, t.target, t.actor, t.bumps) for t in TRANSITIONS}
_GIVEN_BACK = (TaskState.RUNNING, TaskState.RUNNING, Actor.WORKER, False)
"""No move: a worker that gives a task up gives its attempt back."""


class AllOfIt(DeadLetters, Cancellations, Limited):
    """Every statement there is."""


@asynccontextmanager
async def stores(settings: Settings, size: int) -> AsyncIterator[Mapping[Actor, AllOfIt]]:
    """Open a store for each actor, over at most `size` connections that carry the actor's name."""
    async with AsyncExitStack() as stack:
        opened = {}
        for actor in Actor:
            pool = await open_pool(settings, actor.value, size=size)
            stack.push_async_callback(pool.close)
            opened[actor] = AllOfIt(pool)
        yield opened


async def journal(pool: Pool, after: int = 0) -> tuple[int, list[Move]]:
    """Return the number of the last entry and the moves after entry `after`, in the order each task made them."""
    rows = await pool.fetch("select * from milepost.journal where number > $1 order by number", after)
    moves = [
        Move(
            row["id"],
            None if row["source"] is None else TaskState(row["source"]),
            TaskState(row["target"]),
            row["before"],
            row["epoch"],
            row["attempt"],
            _NAMES[row["actor"]],
        )
        for row in rows
    ]
    return max((row["number"] for row in rows), default=after), moves


def check_legal(moves: list[Move], max_attempts: Mapping[UUID, int]) -> None:
    """Every move follows on the one before it, is in the table of transitions, and is its actor's to make."""
    now: dict[UUID, tuple[TaskState, int]] = {}
    for move in moves:
        at = now.get(move.id)
        assert (move.source, move.before) == (at or (None, 0)), f"{move} does not follow on {at}"
        assert (move.source, move.target, move.actor, move.epoch > move.before) in _LEGAL | {_GIVEN_BACK}, (
            f"illegal: {move}"
        )
        assert move.epoch - move.before in {0, 1}, f"{move} skips an epoch"
        assert 0 <= move.attempt <= max_attempts[move.id], f"{move} has too many attempts"
        now[move.id] = (move.target, move.epoch)
