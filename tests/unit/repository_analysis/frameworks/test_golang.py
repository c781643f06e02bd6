"""Go's testing package, file by file."""

from examples.repository_analysis.models import Framework
from tests.unit.repository_analysis.helpers import analysed, counts, names

GO = """\
package things

import (
	"fmt"
	"testing"
)

func TestMain(m *testing.M) { m.Run() }

func TestPlain(t *testing.T) { t.Log("x") }

func Testing(t *testing.T) {} // lower-case: not a test

func TestHelper(t *testing.T, n int) {}

func TestSkipped(t *testing.T) {
	t.Skip("see #12")
}

func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skipf("slow %d", 1)
	}
}

func TestSubtests(t *testing.T) {
	t.Run("first", func(t *testing.T) {
		t.Run("nested", func(t *testing.T) { t.SkipNow() })
	})
	t.Run("named", testNamed)
	for _, c := range []string{"a", "b"} {
		t.Run(c, func(t *testing.T) { t.Parallel() })
	}
	exec.Run(ctx, command)
}

func BenchmarkThing(b *testing.B) {
	for i := 0; i < b.N; i++ {}
}

func FuzzThing(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {})
}

func ExampleThing() {
	fmt.Println("x")
	// Output: x
}
"""


def test_go_tests_with_subtests_benchmarks_fuzz_tests_and_examples() -> None:
    report = analysed({"pkg/things_test.go": GO})
    assert counts(report, Framework.GO) == {
        "files": 1,
        "suites": 2,
        "cases": 4,
        "subtests": 4,
        "benchmarks": 1,
        "fuzz_tests": 1,
        "examples": 1,
        "parameterised": 1,
        "skipped": 2,
        "conditional": 1,
    }
    assert "TestSubtests > first > nested" in names(report)
    assert [(mark.name, mark.reason) for mark in report.skipped.shown] == [
        ("TestSkipped", "see #12"),
        ("TestSubtests > first > nested", None),
    ]


def test_methods_of_testify_suites_are_tests() -> None:
    text = """\
package a

import (
	"testing"

	"github.com/stretchr/testify/suite"
)

type Things struct{ suite.Suite }

func TestThings(t *testing.T) { suite.Run(t, new(Things)) }

func (s *Things) SetupTest() {}

func (s *Things) TestOne() { s.Run("sub", func() {}) }

func (s *Things) TestTwo() { s.T().Skip("no") }
"""
    report = analysed({"a_test.go": text})
    assert counts(report) == {"files": 1, "suites": 2, "cases": 3, "subtests": 1, "skipped": 1}
    assert names(report) == ["TestThings", "Things > TestOne", "Things > TestTwo", "Things > TestOne > sub"]


def test_only_test_files_count() -> None:
    assert not analysed({"pkg/things.go": GO}).frameworks
