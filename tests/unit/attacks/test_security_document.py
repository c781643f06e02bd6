"""docs/security.md names defences and tests; all of them are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = [row for row in DOCUMENT.splitlines() if row.startswith("| ") and "test_" in row]


def _tests() -> set[str]:
    names = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                names.add(node.name)
    return names


def test_every_test_it_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) > 50
    assert not named - _tests()


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_every_attack_has_a_defence_in_a_file_that_is_there(row: str) -> None:
    files = [
        name
        for name in re.findall(r"`([\w/.-]+\.(?:py|sql|lua|toml))`", row)
        if not name.startswith(("test_", "tests/"))
    ]
    assert files
    for name in files:
        assert list(ROOT.glob(f"src/milepost/{name}")) or list(ROOT.glob(f"services/*/src/{name}")), name
