"""Which queues can be there together."""

import pytest

from milepost.errors import TaskDefinitionError
from milepost.tasks import task
from milepost_schemas import SubmitTask
from milepost_schemas.queues import queue_problem, queues_problem


@pytest.mark.parametrize("name", ["a.high", "a_low", "a.b_high"])
def test_a_queue_that_would_be_the_lane_of_another_is_refused_wherever_it_is_named(name: str) -> None:
    assert "lane of" in str(queue_problem(name))
    with pytest.raises(ValueError, match="lane of"):
        SubmitTask.model_validate({"type": "t", "payload": {}, "queue": name})

    async def handler(_ctx: object) -> None: ...

    with pytest.raises(TaskDefinitionError, match="lane of"):
        task("t", queue=name)(handler)


def test_names_that_kafka_takes_for_the_same_cannot_be_together() -> None:
    assert queues_problem(["a.b", "a-b", "ab", "high", "low.a"]) is None
    assert "'a.b' and 'a_b' would collide" in str(queues_problem(["a_b", "c", "a.b"]))
