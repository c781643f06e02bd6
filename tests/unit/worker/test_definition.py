"""How a function becomes a task."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from milepost import Context, RetryPolicy, task
from milepost.errors import TaskDefinitionError
from milepost.tasks.registry import load, registry


class Order(BaseModel):
    """What to make."""

    size: int


def test_a_definition_announces_schemas_and_defaults() -> None:
    @task("x.make", queue="shop", max_attempts=5, timeout=timedelta(minutes=2), isolation="process", memory="64MiB")
    async def make(ctx: Context, order: Order) -> list[int]:
        """Make what was ordered.

        More words.
        """
        assert ctx is not None
        return [order.size]

    definition = registry.get("x.make")
    assert definition is not None
    info = definition.info()
    assert (info.queue, info.max_attempts, info.timeout, info.isolation) == ("shop", 5, 120.0, "process")
    assert info.description == "Make what was ordered."
    assert info.payload_schema["required"] == ["size"]
    assert info.result_schema == {"type": "array", "items": {"type": "integer"}}
    assert definition.memory == 64 * 2**20
    assert definition.asynchronous


def test_a_schedule_of_delays_says_how_many_attempts_there_are_unless_told_otherwise() -> None:
    @task("x.scheduled", retry=[1, 10, timedelta(minutes=5)])
    def scheduled(_ctx: Context) -> None: ...

    @task("x.more", retry=[1, 10], max_attempts=9)
    def more(_ctx: Context) -> None: ...

    @task(
        "x.policy", retry=RetryPolicy(base=5, give_up_on=(ValueError,)), total_timeout=60, cpu=1.5, isolation="process"
    )
    def policy(_ctx: Context) -> None: ...

    found = {name: registry.get(f"x.{name}") for name in ("scheduled", "more", "policy")}
    assert [d and d.max_attempts for d in found.values()] == [4, 9, 3]
    assert found["scheduled"] is not None
    assert found["scheduled"].retry == RetryPolicy(delays=(1.0, 10.0, 300.0))
    assert found["policy"] is not None
    assert (found["policy"].info().total_timeout, found["policy"].cpu_s) == (60, 2)


def test_the_function_stays_callable() -> None:
    @task("x.plain")
    def plain(_ctx: Context, order: Order) -> int:
        return order.size

    assert plain(None, Order(size=3)) == 3  # type: ignore[arg-type]


def test_a_handler_without_payload_refuses_one() -> None:
    @task("x.none")
    def none(_ctx: Context) -> None: ...

    definition = registry.get("x.none")
    assert definition is not None
    assert definition.info().payload_schema["additionalProperties"] is False
    assert definition.arguments("ctx", "payload") == ("ctx",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_attempts": 0}, "at least once"),
        ({"memory": "1GB"}, r"x\.bad: memory='1GB' is not a size; .*'512MiB'"),
        ({"memory": "64MiB"}, "isolation='process'"),
        ({"timeout": 0.0}, "more than nothing"),
        ({"total_timeout": timedelta(0)}, "total_timeout is 0 s"),
        ({"cpu": 5}, "cpu can only be limited with isolation='process'"),
        ({"cpu": -1, "isolation": "process"}, "more than nothing"),
        ({"retry": []}, "at least one delay"),
        ({"retry": [1, -1]}, "each of delays"),
        ({"retry": 5}, "RetryPolicy or a list"),
        ({"queue": "no spaces"}, "cannot name a queue"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(TaskDefinitionError, match=words):
        task("x.bad", **options)  # type: ignore[arg-type]


def test_a_decorator_without_a_name_says_how_to_write_it() -> None:
    with pytest.raises(TaskDefinitionError, match=r'write @task\("some.name"\) above bare'):

        @task  # type: ignore[arg-type]
        def bare(_ctx: Context) -> None: ...


def test_a_file_in_place_of_a_module_is_told_what_to_write() -> None:
    with pytest.raises(TaskDefinitionError, match=r"Write no\.such_tasks, and"):
        load(["./no/such_tasks.py"])


def test_a_handler_of_another_shape_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="handler takes"):

        @task("x.shape")
        def shape(_a: int, _b: int, _c: int) -> None: ...

    with pytest.raises(TaskDefinitionError, match="give the payload parameter a type"):

        @task("x.untyped")
        def untyped(_ctx: Context, payload) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def test_two_tasks_of_one_name_are_refused() -> None:
    @task("x.twice")
    def one(_ctx: Context) -> None: ...

    with pytest.raises(TaskDefinitionError, match="Two tasks are named"):

        @task("x.twice")
        def two(_ctx: Context) -> None: ...


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(TaskDefinitionError, match=r"no\.such"):
        load(["no.such"])


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("\nnme", ["line 2, in <module>", "NameError: name 'nme' is not defined"]),
        ("def broken(:", ["line 1", "SyntaxError"]),
        ("import sys; sys.exit(1)", ["SystemExit: 1"]),
    ],
)
def test_a_module_that_is_broken_is_told_as_python_would_from_its_own_first_line_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: list[str]
) -> None:
    (tmp_path / "broken_tasks.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskDefinitionError, match="'broken_tasks' cannot be imported") as error:
        load(["broken_tasks"])
    assert all(part in str(error.value) for part in told)
    assert "registry.py" not in str(error.value)
    assert "importlib" not in str(error.value)
