"""Postgres is asked when metrics are read, and not often."""

import asyncio
from typing import Any

import pytest

from milepost.errors import Unavailable
from milepost.runtime.metrics.catalogue import OUTBOX_ROWS
from milepost_api.measured import Measured

ROW: dict[str, Any] = {
    "what": "outbox", "queue": None, "priority": None, "own": None, "number": 7.0, "seconds": 1.0
}  # fmt: skip


async def test_however_many_read_one_look_serves_them_all() -> None:
    looks: list[int] = []

    async def ask(most: int) -> list[Any]:
        looks.append(most)
        return [ROW]

    measured = Measured(ask)
    for _ in range(5):
        await measured.look()
    assert len(looks) == 1
    measured._next_at = 0.0
    await measured.look()
    assert len(looks) == 2


async def test_numbers_of_a_postgres_that_is_away_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    away = False

    async def ask(_most: int) -> list[Any]:
        if away:
            raise Unavailable("Postgres is away.")
        return [ROW]

    measured = Measured(ask)
    await measured.look()
    assert [s.value for family in OUTBOX_ROWS.collect() for s in family.samples] == [7.0]
    away = True
    monkeypatch.setattr(measured, "_next_at", 0.0)
    await measured.look()
    assert list(OUTBOX_ROWS.collect()) == []


async def test_who_reads_waits_for_no_postgres_that_is_stuck() -> None:
    stuck, over = False, asyncio.Event()

    async def ask(_most: int) -> list[Any]:
        if stuck:
            await over.wait()
            raise Unavailable("Postgres did not answer.")
        return [ROW]

    def shown() -> list[float]:
        return [sample.value for family in OUTBOX_ROWS.collect() for sample in family.samples]

    measured = Measured(ask)
    await measured.look()
    stuck = True
    measured._next_at = 0.0
    await measured.look()
    assert shown() == [7.0], "it is still being asked"
    over.set()
    await measured.look()
    assert shown() == []
