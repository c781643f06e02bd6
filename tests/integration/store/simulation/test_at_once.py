"""Whatever is claimed, lost, cancelled, finished and told at the same moment: the books balance afterwards."""

import os
from collections import Counter

import orjson
import pytest

from milepost.domain.states import Actor
from milepost.runtime.settings import Settings
from milepost.store import Held, open_pool
from milepost.store.connection import Pool
from milepost_schemas.task import TaskState as S
from tests.integration.store.simulation.crowd import Crowd
from tests.integration.store.simulation.journal import EMPTY, check_legal, journal, stores
from tests.integration.store.simulation.model import TERMINAL, Move

TIMES = int(os.environ.get("SIMULATION_TIMES", "1"))
FIRST = int(os.environ.get("SIMULATION_SEED", "1"))
pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600 if TIMES > 1 else 600)]

ROUNDS = 60


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 3 * TIMES))
async def test_ownership_holds_when_everybody_acts_at_once(settings: Settings, seed: int) -> None:
    pool = await open_pool(settings, "test", size=3)
    try:
        async with stores(settings, 4) as opened:
            await pool.execute(EMPTY)
            crowd = Crowd(pool, opened, seed)
            await crowd.run(ROUNDS)
            await crowd.ends()
            await check(pool, crowd)
    finally:
        await pool.close()


async def check(pool: Pool, crowd: Crowd) -> None:
    told = crowd.told
    _, written = await journal(pool)
    check_legal(written, {task.id: task.max_attempts for task in crowd.tasks})
    # What gives an attempt back moves nothing.
    moves = [move for move in written if move.source is not move.target]
    check_owners(crowd, moves)
    check_writes(crowd, moves)
    rows = {row["id"]: row for row in await pool.fetch("select * from milepost.tasks")}

    # One key, one task; each accepted task is there, and is over once, and once more for each replay.
    for key in {task.idempotency_key for task, _ in told.submitted} - {None}:
        assert len({id_ for task, id_ in told.submitted if task.idempotency_key == key}) == 1
    assert set(rows) == {id_ for _, id_ in told.submitted}
    ends = [move for move in moves if move.target in TERMINAL]
    again = [Held(move.id, move.epoch) for move in moves if move.source in TERMINAL]
    assert Counter(move.id for move in ends) == Counter([*rows, *(held.id for held in again)])
    assert sorted(again) == sorted(told.replayed)

    # The result is of the epoch that won, and of the one write that was told so.
    won = {wrote.held: wrote.nonce for wrote in told.wrote if wrote.moved is not None}
    for row in rows.values():
        by_worker = row["result"] is not None
        assert by_worker == (Held(row["id"], row["epoch"]) in won and won[Held(row["id"], row["epoch"])] is not None)
        if by_worker:
            assert orjson.loads(row["result"]) == won[Held(row["id"], row["epoch"])]

    # Every end is told: was taken from the outbox, or still is in it.
    outbox = {Held(*row.values()) for row in await pool.fetch("select task_id, epoch from milepost.outbox")}
    assert outbox | set(told.published) == {Held(move.id, move.epoch) for move in ends}

    # Every attempt that did not end its task is remembered, and every end that was taken back.
    history = {Held(*row.values()) for row in await pool.fetch("select task_id, epoch from milepost.attempts")}
    assert history == {
        Held(move.id, move.before)
        for move in moves
        if move.source in TERMINAL
        or (move.source is S.RUNNING and (move.target not in TERMINAL or move.actor is Actor.SWEEPER))
    }

    # A task is cancelled by the one call that was told so.
    cancels = [Held(move.id, move.epoch) for move in moves if move.actor is Actor.API and move.target is S.CANCELLED]
    below = [Held(row["id"], row["epoch"]) for row in crowd.heard.over]
    assert sorted(cancels) == sorted(
        [*below, *(Held(id_, row["epoch"]) for id_, moved, row in told.cancelled if moved)]
    )

    # Given up is only what was owned, and nobody but the sweeper or its owner ends what was given up.
    assert len(told.left) == len(set(told.left))
    assert set(told.left) <= {held for held, _, _ in told.granted}

    # Whoever cancels is told of an end, or of a task that was asked to stop: never of one that looks untouched.
    for _, _, row in told.cancelled:
        assert row["state"] in TERMINAL or row["cancel_requested_at"] is not None

    # Much happened; that some task expired in the crowd is usual, not certain.
    assert told.passed["swept"], told.passed
    assert told.passed["due"], told.passed
    assert {move.target for move in moves} == set(S) - {S.WAITING}
    assert told.left
    assert told.replayed
    assert below
    assert any(wrote.moved is None for wrote in told.wrote)


def check_owners(crowd: Crowd, moves: list[Move]) -> None:
    """Each epoch was given to one worker, once, and whoever was told so has it."""
    granted = [held for held, _, _ in crowd.told.granted]
    assert len(granted) == len(set(granted)), "an epoch was given twice"
    assert set(granted) == {Held(move.id, move.epoch) for move in moves if move.target is S.RUNNING}


def check_writes(crowd: Crowd, moves: list[Move]) -> None:
    """A write that was told it moved a task is the one that did; one that was told it was fenced had been."""
    left = {Held(move.id, move.before): move for move in moves if move.source is S.RUNNING}
    moved = [wrote for wrote in crowd.told.wrote if wrote.moved is not None]
    by_workers = {held for held, move in left.items() if move.actor is Actor.WORKER}
    assert Counter(wrote.held for wrote in moved) == Counter(by_workers)
    for wrote in moved:
        assert wrote.moved is not None
        assert wrote.moved.state is left[wrote.held].target
    for held in [*crowd.told.lost, *(wrote.held for wrote in crowd.told.wrote if wrote.moved is None)]:
        assert held in left, "told it had lost what it owned"
