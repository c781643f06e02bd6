"""From files to a report: counts by directory, odd files, limits of the lists."""

import pytest

from examples.repository_analysis.analysis import is_source, is_wanted_first
from tests.unit.repository_analysis.helpers import analysed, counts, names


def test_an_empty_repository_of_files_has_an_empty_report() -> None:
    report = analysed({})
    assert counts(report) == {}
    assert (report.frameworks, report.directories, report.sources) == ([], [], 0)


def test_tests_are_counted_by_directory_most_first() -> None:
    files = {
        "test_top.py": "def test_a(): ...\n",
        "a/test_a.py": "def test_a(): ...\ndef test_b(): ...\n",
        "a/b_test.go": 'package a\nfunc TestA(t *testing.T) { t.Run("x", func(t *testing.T) {}) }\n',
    }
    report = analysed(files)
    assert [(d.directory, d.files, d.cases, d.subtests, d.frameworks) for d in report.directories] == [
        ("a", 2, 3, 1, ["Go testing", "pytest"]),
        (".", 1, 1, 0, ["pytest"]),
    ]
    assert report.directories_total == 2


def test_broken_syntax_is_listed_and_the_rest_of_the_file_still_counts() -> None:
    report = analysed({"test_a.py": "def test_a(): ...\n\ndef broken(:\n    ...\n\n\ndef test_b(): ...\n"})
    assert {"test_a", "test_b"} <= set(names(report))
    assert [(p.path, p.problem) for p in report.problems.shown] == [
        ("test_a.py", "line 3 is not understood, the rest is")
    ]


def test_a_file_that_is_not_utf8_still_counts_and_is_listed() -> None:
    report = analysed({"test_a.py": b"def test_a():\n    assert '\xe9'\n"})
    assert counts(report)["cases"] == 1
    assert report.problems.shown[0].problem == "not UTF-8; read as Latin-1"


def test_a_binary_file_with_the_name_of_a_source_is_listed() -> None:
    report = analysed({"test_a.py": b"\x00\xff\xfe\x00def test_a(): ..."})
    assert counts(report) == {}
    assert report.problems.shown[0].problem == "binary"


def test_line_ends_of_windows_make_no_difference() -> None:
    report = analysed({"test_a.py": b"def test_a():\r\n    pass\r\n\r\n\r\ndef test_b():\r\n    pass\r\n"})
    assert [(case.name, case.line) for case in report.cases or []] == [("test_a", 1), ("test_b", 5)]
    assert report.problems.total == 0


def test_an_empty_file_has_no_tests_and_no_problem() -> None:
    report = analysed({"test_a.py": b"", "a_test.go": b"", "a.test.js": b"", "a_spec.rb": b"", "A.java": b""})
    assert (counts(report), report.problems.total, report.sources) == ({}, 0, 5)


@pytest.mark.parametrize(
    ("path", "opening", "closing"),
    [
        ("a.test.js", "describe('a', () => {", "})"),
        ("a_spec.rb", "describe 'a' do\n", "end\n"),
        ("src/a.rs", "#[test] fn a() {} mod a {", "}"),
        ("A.java", "import org.junit.Test; class A { @Test void a() {} ", "}"),
        ("test_a.py", "if test_a(lambda: (", "))"),
        ("a_test.go", "package a; func TestA(t *testing.T) {", "}"),
    ],
)
def test_absurd_nesting_never_crashes(path: str, opening: str, closing: str) -> None:
    text = opening * 3000 + closing * 3000
    assert analysed({path: text}).sources == 1


def test_lists_are_bounded_and_totals_are_not() -> None:
    many = "import pytest\n" + "".join(f"@pytest.mark.skip\ndef test_{n}(): ...\n" for n in range(20))
    report = analysed({f"{n}/test_a.py": many for n in range(5)}, max_listed=3, include_cases=False)
    assert (report.skipped.total, len(report.skipped.shown)) == (100, 3)
    assert (report.directories_total, len(report.directories)) == (5, 3)
    assert report.total.skipped == 100
    assert report.cases is None


@pytest.mark.parametrize("path", ["node_modules/a/test/a.test.js", "vendor/a/a_test.go", "a/.venv/lib/test_a.py"])
def test_other_peoples_code_is_left_out(path: str) -> None:
    assert not is_source(path)


def test_settings_are_told_from_sources() -> None:
    assert is_wanted_first("a/package.json")
    assert not is_wanted_first("node_modules/a/package.json")
    assert not is_source("a/package.json")
