"""The settings of a repository, and the directories they hold in."""

import pytest

from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project, read_projects


def test_settings_hold_below_their_directory_only() -> None:
    projects = read_projects({"a/package.json": b'{"jest": {}}', "a/b/.mocharc.json": b"{}"})
    assert projects.of("x.test.js").javascript is None
    assert projects.of("a/x.test.js").javascript is Framework.JEST
    assert projects.of("a/c/d/x.test.js").javascript is Framework.JEST
    assert projects.of("a/b/x.test.js").javascript is Framework.MOCHA


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\npython_files = check_*.py\n    tests.py\n"),
        ("tox.ini", "[tox]\n[pytest]\npython_files = check_*.py tests.py\n"),
        ("setup.cfg", "[tool:pytest]\npython_files = check_*.py tests.py\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\npython_files = ['check_*.py', 'tests.py']\n"),
        ("pyproject.toml", "[tool.pytest]\npython_files = ['check_*.py', 'tests.py']\n"),
    ],
)
def test_pytest_options_are_read_wherever_pytest_reads_them(name: str, text: str) -> None:
    assert read_projects({name: text.encode()}).of("a/b.py").python_files == ("check_*.py", "tests.py")


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.cfg", "package.json"])
@pytest.mark.parametrize("data", [b"", b"\xff\x00", b"[", b"tool = 1\n", b"[tool]\npytest = 1\n", b"[" * 100_000])
def test_malformed_settings_say_nothing(name: str, data: bytes) -> None:
    assert read_projects({name: data}).of("a.py") == Project()


def test_a_path_of_a_thousand_directories_is_no_trouble() -> None:
    assert read_projects({}).of("a/" * 2000 + "a.py") == Project()
