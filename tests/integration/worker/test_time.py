"""Retries and total time, as a worker keeps them."""

from typing import Any

import pytest

from milepost.client import Client
from milepost.errors import TaskFailed
from milepost_schemas.task import Task, TaskState

pytestmark = pytest.mark.stack


async def failed(client: Client, type_: str, **options: Any) -> Task:
    """Submit a task and return it once it failed."""
    run = await client.submit(type_, {}, **options)
    with pytest.raises(TaskFailed):
        await run.result(timeout=30)
    task = await run.refresh()
    assert task.state is TaskState.FAILED
    return task


async def test_a_schedule_of_delays_says_how_often_a_task_is_tried(client: Client) -> None:
    task = await failed(client, "run.scheduled")
    assert (task.attempt, task.max_attempts) == (3, 3)
    assert task.error is not None
    assert task.error.type == "ValueError"


@pytest.mark.parametrize(
    ("type_", "error"),
    [("run.give_up", "KeyError"), ("run.give_up_process", "KeyError"), ("run.give_up_timeout", "Timeout")],
)
async def test_an_error_the_policy_gives_up_on_ends_the_task_at_once(client: Client, type_: str, error: str) -> None:
    task = await failed(client, type_)
    assert task.attempt == 1
    assert task.error is not None
    assert task.error.type == error


async def test_a_running_attempt_is_stopped_when_the_total_time_is_over(client: Client) -> None:
    task = await failed(client, "run.endless", total_timeout=0.5)
    assert task.attempt == 1
    assert task.error is not None
    assert task.error.type == "TotalTimeout"
    assert "Attempt 1 was stopped" in task.error.message


async def test_the_total_time_spans_attempts_that_each_have_time_enough(client: Client) -> None:
    task = await failed(client, "run.endless", timeout=0.3, total_timeout=1.5, max_attempts=100)
    assert task.error is not None
    assert task.error.type == "TotalTimeout"


async def test_no_attempt_is_scheduled_past_the_total_time_and_the_error_says_what_the_last_one_did(
    client: Client,
) -> None:
    task = await failed(client, "run.later")
    assert task.attempt == 1
    assert task.error is not None
    assert task.error.type == "TotalTimeout"
    assert "RetryAfter: come back in an hour" in task.error.message


async def test_a_task_nobody_could_start_in_time_fails_by_its_total_time(client: Client) -> None:
    task = await failed(client, "demo.echo", queue="nobody-serves-this", total_timeout=0.3)
    assert task.attempt == 0
    assert task.error is not None
    assert task.error.type == "TotalTimeout"
    assert task.error.message == "The task did not start before total_timeout was over."
