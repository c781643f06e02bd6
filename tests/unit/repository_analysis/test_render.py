"""What people see of a report."""

import io

from rich.console import Console

from examples.repository_analysis.models import Report
from examples.repository_analysis.render import printable, render_report
from tests.unit.repository_analysis.helpers import analysed


def shown(report: Report, width: int = 100) -> str:
    """The rendering as plain text."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render_report(report, rows=2))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


FILES = {
    "tests/test_a.py": "import pytest\n"
    + "".join(f"@pytest.mark.skip('why')\ndef test_{n}(): ...\n" for n in range(5)),
    "web/a.test.js": "jest.mock('a');\ndescribe.only('group', () => { it('a', () => {}); it('b', () => {}); });\n",
    "web/b.test.js": "it('c', (",
}


def test_it_shows_totals_frameworks_directories_and_bounded_lists() -> None:
    text = shown(analysed(FILES))
    for words in (
        "/srv/example",
        "0000000000",
        "5 skipped",
        "2 focused",
        "pytest",
        "Jest",
        "Total",
        "Directory (2)",
        "Focused, so that nothing else runs (1)",
        "web/a.test.js:2",
        "group  (2 tests)",
        "Skipped (2 of 5)",
        "why",
        "Not fully read (1)",
        "web/b.test.js",
    ):
        assert words in text
    assert "Bench" not in text


def test_it_says_that_there_are_no_tests() -> None:
    assert "No tests were found" in shown(analysed({}))


def test_it_fits_any_width() -> None:
    files = {"a/" * 60 + "test_a.py": "import pytest\n@pytest.mark.skip\ndef test_" + "x" * 300 + "(): ...\n"}
    for width in (40, 60, 80, 200):
        assert max(map(len, shown(analysed(FILES | files), width).splitlines())) <= width


def test_nothing_in_a_repository_steers_the_terminal_or_the_markup() -> None:
    hostile = "it.only('[red]\x1b]0;owned\x07\x1b[2J [/nothing]', () => {})\n"
    text = shown(analysed({"[bold]\x1b[31m.test.js": hostile}))
    assert not any(character in text for character in "\x1b\x07")
    assert "[/nothing]" in text
    assert "[bold]" in text


def test_long_words_keep_their_end() -> None:
    assert printable("abcdef", 4) == "…def"
    assert printable("a\x1b\nb") == "a\ufffd\ufffdb"
