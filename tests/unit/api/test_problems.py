"""Findings stay short, whatever was sent."""

import re
from pathlib import Path

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


def test_the_tables_for_readers_and_for_typescript_are_that_of_the_code() -> None:
    root = Path(__file__).parents[3]
    shown = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", (root / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted((str(kind.value.status), kind.value.slug) for kind in ProblemType)
    table = (root / "clients/browser/src/errors.ts").read_text().partition("PROBLEMS")[2].partition("};")[0]
    assert re.findall(r'^  "?([a-z-]+)"?: \w+,$', table, re.MULTILINE) == [kind.value.slug for kind in ProblemType]
