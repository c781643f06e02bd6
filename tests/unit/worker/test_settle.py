"""That no attempt hangs in its worker, whatever becomes of its outcome."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from milepost import Context, task
from milepost.announce import Announcer
from milepost.errors import Unavailable
from milepost.log import Topics
from milepost.log.writer import Record
from milepost.runtime.settings import Settings
from milepost.store import Finish, GivenUp, Held, Moved, Release, Retry
from milepost_schemas import TaskState
from milepost_worker.attempt import StopReason
from milepost_worker.outcome import Dropped, Outcome, Succeeded
from milepost_worker.pump import Pump
from milepost_worker.settle import Settler
from tests.unit.worker.test_pump import attempt_of

_SUCCESS = Succeeded("1")


class Postgres:
    """Does to each write what it is told to, and takes down what it took. No real one refuses an outcome of ours."""

    def __init__(self, *answers: Exception | None) -> None:
        self.taken: list[Finish | Retry] = []
        self.left: list[GivenUp] = []
        self._answers = list(answers)

    async def finish(self, rows: Sequence[Finish]) -> list[Moved]:
        """Take rows, or raise the next of the errors that were asked for."""
        self._take(rows)
        return [Moved(row.state, finished_at=datetime.now(UTC)) for row in rows]

    async def retry(self, rows: Sequence[Retry]) -> list[Moved]:
        """The same for attempts that are to be followed by another."""
        self._take(rows)
        return [Moved(TaskState.SCHEDULED, due_at=datetime.now(UTC)) for _ in rows]

    async def release(self, _rows: Sequence[Release]) -> list[Moved]:
        """Nothing gives a task back here."""
        raise NotImplementedError

    async def abandon(self, rows: Sequence[GivenUp]) -> set[Held]:
        """Take what is left to the sweep, or raise the next of the errors."""
        self._take(())
        self.left += rows
        return {row.held for row in rows}

    def _take(self, rows: Sequence[Finish] | Sequence[Retry]) -> None:
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        self.taken += rows


class Kafka:
    """Takes records, or fails as no writer should."""

    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[Record] = []
        self._error = error

    def write(self, record: Record) -> bool:
        """Take a record."""
        if self._error is not None:
            raise self._error
        self.records.append(record)
        return True


async def _settle(
    postgres: Postgres, kafka: Kafka, outcome: Outcome = _SUCCESS, reason: StopReason | None = None
) -> None:
    """Settle an outcome; return when the worker may forget its attempt."""

    @task("x.settles")
    async def settles(_ctx: Context) -> int:
        return 1

    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    store: Any = postgres
    writer: Any = kafka
    announcer = Announcer(writer, Topics("milepost"), "/milepost/worker/test", lambda _: None)
    settler = Settler(store, announcer, Settings.load(), lambda _attempt, _retry_in: over.set_result(None))
    attempt = attempt_of("x.settles", Pump(), lambda _: None)
    attempt.trail._sink = announcer.event
    attempt.reason = reason
    settler.settle(attempt, outcome)
    async with asyncio.timeout(10):
        await over


def _events(kafka: Kafka) -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in kafka.records if record.topic.endswith("events")]


async def test_an_outcome_is_written_again_until_postgres_is_back() -> None:
    postgres, kafka = Postgres(Unavailable("away"), Unavailable("still away")), Kafka()
    await _settle(postgres, kafka)
    assert [row.result for row in postgres.taken if isinstance(row, Finish)] == ["1"]
    assert [event["kind"] for event in _events(kafka)] == ["succeeded"]


async def test_an_outcome_that_is_refused_fails_the_attempt_and_says_why() -> None:
    postgres, kafka = Postgres(ValueError("not that")), Kafka()
    await _settle(postgres, kafka)
    [row] = postgres.taken
    assert "CannotSettle" in (row.error or "")
    [event] = _events(kafka)
    # The start had not been told: its number and what it says are in the end, also at the second try.
    assert (event["at"], event["merged"], event["data"]["attempt"]) == ([1, 1], 1, 1)


async def test_when_everything_is_refused_the_attempt_is_let_go() -> None:
    postgres, kafka = Postgres(*[ValueError("never")] * 10), Kafka()
    await _settle(postgres, kafka)
    assert not postgres.taken
    assert not kafka.records


async def test_what_cannot_be_told_is_written_all_the_same() -> None:
    postgres, kafka = Postgres(), Kafka(TypeError("no JSON"))
    await _settle(postgres, kafka)
    assert [row.result for row in postgres.taken if isinstance(row, Finish)] == ["1"]


async def test_a_task_whose_handler_ended_before_its_lease_is_left_to_others_as_soon_as_postgres_can_be_told() -> None:
    postgres, kafka = Postgres(Unavailable("away")), Kafka()
    await _settle(postgres, kafka, Dropped(), StopReason.LEASE_LOST)
    [row] = postgres.left
    assert row.counts
    assert "LeaseLost" in row.error
    assert not kafka.records, "whoever takes it back tells of it"


async def test_a_task_whose_handler_goes_on_keeps_its_lease() -> None:
    postgres, kafka = Postgres(), Kafka()
    await _settle(postgres, kafka, Dropped(ended=False), StopReason.LEASE_LOST)
    assert not postgres.left
