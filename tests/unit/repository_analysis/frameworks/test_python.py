"""pytest and unittest, file by file."""

from examples.repository_analysis.models import Framework
from tests.unit.repository_analysis.helpers import analysed, counts, names

PYTEST = '''\
import sys

import pytest
from hypothesis import given


@pytest.fixture
def test_client():
    """Not a test, whatever it is called."""


def helper(): ...


def test_plain(test_client):
    assert test_client


async def test_async(): ...


@pytest.mark.parametrize("a", [1, 2])
@pytest.mark.parametrize("b", [1, 2])
def test_rows(a, b): ...


@given(...)
def test_property(a): ...


@pytest.mark.skip(reason="broken since 1.2")
def test_skipped(): ...


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_posix(): ...


@pytest.mark.xfail
def test_not_yet(): ...


def test_skips_itself():
    pytest.skip("no time")


def test_may_skip():
    if sys.platform == "win32":
        pytest.skip("no fork")


@pytest.mark.only
def test_only_this(): ...


if sys.version_info > (3, 11):
    def test_new(): ...


class TestGroup:
    def test_one(self): ...

    def not_a_test(self): ...

    class TestInner:
        @pytest.mark.skip
        def test_two(self): ...


@pytest.mark.skip("all of it")
class TestSkipped:
    def test_one(self): ...
    def test_two(self): ...


class TestWithConstructor:
    def __init__(self): ...
    def test_not_collected(self): ...


class TestNot:
    __test__ = False
    def test_not_collected(self): ...


class TestEmpty:
    pass
'''


def test_pytest_functions_and_classes_are_counted_with_their_marks() -> None:
    report = analysed({"tests/test_things.py": PYTEST})
    assert counts(report, Framework.PYTEST) == {
        "files": 1,
        "suites": 3,
        "cases": 15,
        "parameterised": 2,
        "skipped": 5,
        "conditional": 2,
        "expected_to_fail": 1,
        "focused": 1,
    }
    assert "TestGroup > TestInner > test_two" in names(report)
    assert not {"test_client", "TestNot > test_not_collected"} & set(names(report))


def test_a_mark_is_listed_where_it_stands_with_its_reason() -> None:
    report = analysed({"test_things.py": PYTEST})
    assert [(mark.name, mark.cases, mark.reason) for mark in report.skipped.shown] == [
        ("test_skipped", 1, "broken since 1.2"),
        ("test_skips_itself", 1, "no time"),
        ("TestGroup > TestInner > test_two", 1, None),
        ("TestSkipped", 2, "all of it"),
    ]
    assert [(mark.name, mark.reason) for mark in report.conditional.shown] == [
        ("test_posix", "no fork"),
        ("test_may_skip", "no fork"),
    ]
    assert [(mark.name, mark.line) for mark in report.focused.shown] == [("test_only_this", 53)]


UNITTEST = """\
import unittest
from unittest import IsolatedAsyncioTestCase, TestCase


class Base(TestCase):
    def setUp(self): ...


class Things(Base):
    def test_one(self): ...

    def test_rows(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertTrue(i)

    @unittest.skip("later")
    def test_later(self): ...

    @unittest.skipUnless(True, "sometimes")
    def test_sometimes(self): ...

    @unittest.expectedFailure
    def test_fails(self): ...

    def test_gives_up(self):
        self.skipTest("why not")

    def helper(self): ...


@unittest.skip("all")
class Slow(IsolatedAsyncioTestCase):
    async def test_one(self): ...
"""


def test_unittest_is_found_by_its_base_class_in_any_file() -> None:
    report = analysed({"package/checks.py": UNITTEST})
    assert counts(report) == {
        "files": 1,
        "suites": 2,
        "cases": 7,
        "parameterised": 1,
        "skipped": 3,
        "conditional": 1,
        "expected_to_fail": 1,
    }
    assert [tally.framework for tally in report.frameworks] == [Framework.UNITTEST]


def test_one_file_may_have_tests_of_both() -> None:
    report = analysed({"test_both.py": UNITTEST + "\n\ndef test_function(): ...\n"})
    assert {tally.framework: tally.cases for tally in report.frameworks} == {"unittest": 7, "pytest": 1}
    assert counts(report)["files"] == 1


def test_a_mark_of_the_module_applies_to_all_its_tests() -> None:
    text = "import pytest\npytestmark = [pytest.mark.slow, pytest.mark.skip(reason='x')]\ndef test_a(): ...\n"
    report = analysed({"test_a.py": text})
    assert counts(report)["skipped"] == 1
    assert [mark.name for mark in report.skipped.shown] == ["the whole file"]


def test_files_pytest_would_not_collect_are_left_out() -> None:
    assert not analysed({"package/code.py": "def test_connection(): ...\n"}).frameworks


def test_pytest_settings_of_the_repository_decide_what_is_collected() -> None:
    settings = "[tool.pytest.ini_options]\npython_files = ['check_*.py']\npython_functions = 'should_* test'\n"
    files = {"pyproject.toml": settings, "a/check_it.py": "def should_work(): ...\ndef test_b(): ...\n"}
    assert names(analysed(files | {"a/test_no.py": "def test_c(): ...\n"})) == ["should_work", "test_b"]
