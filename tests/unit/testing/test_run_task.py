"""Tasks in plain unit tests."""

import pytest
from pydantic import ValidationError

from milepost import Context, task
from milepost.demo import count, fail, spin
from milepost.errors import TaskDefinitionError
from milepost.tasks.registry import registry
from milepost.testing import run_task


async def test_a_coroutine_handler_runs_with_its_progress() -> None:
    ran = await run_task(count, {"to": 3, "delay": 0})
    assert ran.result == {"count": 3}
    assert [p.done for p in ran.progress] == [0, 1, 2, 3]


async def test_a_plain_handler_runs() -> None:
    assert (await run_task(spin, {"seconds": 0})).result["seconds"] >= 0


async def test_the_attempt_can_be_chosen() -> None:
    with pytest.raises(RuntimeError, match="told to"):
        await run_task(fail, {"times": 1})
    assert (await run_task(fail, {"times": 1}, attempt=2)).result == {"attempt": 2}


async def test_a_payload_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError):
        await run_task(count, {"to": "many"})


async def test_a_function_that_is_no_task_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="no @task"):
        await run_task(lambda: None)


async def test_what_a_handler_logs_is_kept() -> None:
    @task("x.logs")
    async def logs(ctx: Context) -> None:
        for number in range(1000):
            ctx.log("a line", level="warning", number=number)

    try:
        ran = await run_task(logs)
    finally:
        del registry._by_type["x.logs"]
    assert len(ran.log) == 1000
    assert ran.log[-1] == ("warning", "a line", {"number": 999})


async def test_what_a_handler_emits_is_kept_by_channel() -> None:
    @task("x.emits")
    def emits(ctx: Context) -> None:
        for word in ("Hello", " ", "world"):
            ctx.emit("answer", word)
        ctx.emit("thoughts", "hm")

    try:
        ran = await run_task(emits)
    finally:
        del registry._by_type["x.emits"]
    assert ran.output == {"answer": "Hello world", "thoughts": "hm"}
