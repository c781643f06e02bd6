"""Findings stay short, whatever was sent."""

from milepost_api.problems import Refusal, finding
from milepost_schemas import Problem
from milepost_schemas.problem import ProblemType


def test_a_path_is_a_json_pointer() -> None:
    assert finding(("payload", "a/b~c", 0), "no")["path"] == "/payload/a~1b~0c/0"
    assert not finding((), "no")["path"]


def test_long_input_does_not_make_long_findings() -> None:
    row = finding(["x" * 10_000] * 50, "y" * 10_000)
    assert len(row["path"]) == len(row["message"]) == 300


def test_every_kind_of_refusal_is_a_problem_document() -> None:
    for kind in ProblemType:
        reply = Refusal(kind, "because").reply("0" * 32)
        problem = Problem.model_validate_json(reply.body)
        assert (problem.status, problem.type, reply.status) == (kind.value.status, kind.uri, problem.status)
