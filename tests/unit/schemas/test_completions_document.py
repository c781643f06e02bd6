"""docs/completions.md says what the code does, and shows the programs that a test runs."""

import re
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from milepost.log import Topics
from milepost.log.topics import COMPLETIONS_KEPT_MS
from milepost_schemas import Completion
from milepost_schemas.cloudevents import TYPES, headers_of

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "completions.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the first block of code in that language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("language", "path"),
    [("python", "examples/completions/python/consumer.py"), ("go", "examples/completions/go/main.go")],
)
def test_the_programs_shown_are_the_ones_that_run(language: str, path: str) -> None:
    assert block(language) == (ROOT / path).read_text(encoding="utf-8")


def test_the_headers_are_the_ones_sent() -> None:
    sent = headers_of(Completion, identity="t:1", source="s", subject="t", traceparent="00-00-00-00")
    table = DOCUMENT.split("| header | |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", table, re.MULTILINE))
    assert set(rows) == {name for name, _ in sent}
    assert TYPES[Completion] in rows["ce_type"]
    for name, value in sent:
        if name in {"ce_specversion", "content-type"}:
            assert rows[name] == f"`{value.decode()}`"


def test_the_completion_shown_is_one() -> None:
    shown = Completion.model_validate_json(block("json"))
    assert set(orjson.loads(block("json"))) == set(Completion.model_fields) - {"error"}
    assert shown.id == f"{UUID(str(shown.task))}:{shown.epoch}"


def test_the_topic_and_its_retention_are_the_ones_made() -> None:
    assert f"| topic | `{Topics().completions}`" in DOCUMENT
    assert f"| kept | {COMPLETIONS_KEPT_MS // (24 * 3600 * 1000)} days |" in DOCUMENT
