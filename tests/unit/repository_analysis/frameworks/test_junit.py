"""JUnit 3, 4, 5 and TestNG, file by file."""

from examples.repository_analysis.models import Framework
from tests.unit.repository_analysis.helpers import analysed, counts, names

JUNIT5 = """\
package org.example;

import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.*;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ThingsTest {
    @BeforeEach void setUp() {}

    @Test void plain() { assertTrue(true); }

    @ParameterizedTest(name = "{0}")
    @ValueSource(ints = {1, 2})
    void rows(int value) {}

    @RepeatedTest(3) void again() {}

    @Test @Disabled("flaky, see #12") void disabled() {}

    @Test @DisabledOnOs(OS.WINDOWS) void posix() {}

    void helper() {}

    @Nested class Inner {
        @Test void inside() {}

        @Disabled @Nested class Deepest { @Test void deep() {} @TestFactory Object made() { return null; } }
    }
}
"""


def test_junit_5_with_nested_disabled_and_parameterised() -> None:
    report = analysed({"src/test/java/ThingsTest.java": JUNIT5})
    assert counts(report, Framework.JUNIT5) == {
        "files": 1,
        "suites": 3,
        "cases": 8,
        "parameterised": 3,
        "skipped": 3,
        "conditional": 1,
    }
    assert "ThingsTest > Inner > Deepest > deep" in names(report)
    assert [(mark.name, mark.reason) for mark in report.skipped.shown] == [
        ("ThingsTest > disabled", "flaky, see #12"),
        ("ThingsTest > Inner > Deepest", None),
    ]


JUNIT4 = """\
import org.junit.Ignore;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.junit.runners.Parameterized;

@RunWith(Parameterized.class)
public class RowsTest {
    @Test(expected = IllegalStateException.class) public void fails() {}
    @Ignore("later") @Test public void ignored() {}
    public void testNotByName() {}
}
"""


def test_junit_4_with_a_parameterised_class() -> None:
    report = analysed({"RowsTest.java": JUNIT4})
    assert counts(report, Framework.JUNIT4) == {
        "files": 1,
        "suites": 1,
        "cases": 2,
        "parameterised": 2,
        "skipped": 1,
    }


def test_junit_3_tests_are_found_by_name_and_base_class() -> None:
    text = "import junit.framework.TestCase;\nclass A extends TestCase { public void testA() {} void help() {} }\n"
    assert counts(analysed({"A.java": text}), Framework.JUNIT4) == {"files": 1, "suites": 1, "cases": 1}


def test_testng_is_told_apart() -> None:
    text = """\
import org.testng.annotations.Test;
class A { @Test(dataProvider = "rows") void a(int i) {} @Test(enabled = false) void b() {} }
"""
    assert counts(analysed({"A.java": text}), Framework.TESTNG) == {
        "files": 1,
        "suites": 1,
        "cases": 2,
        "parameterised": 1,
        "skipped": 1,
    }


def test_a_test_annotation_in_a_comment_or_string_is_none() -> None:
    assert not analysed({"A.java": 'class A { /* @Test void a() {} */ String s = "@Test void b() {}"; }\n'}).frameworks
