"""Rust's tests, file by file."""

from examples.repository_analysis.models import Framework
from tests.unit.repository_analysis.helpers import analysed, counts, names

RUST = """\
pub fn code() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain() {}

    /// Documented.
    #[test]
    #[should_panic(expected = "x")]
    // and a comment between
    fn panics() {}

    #[test]
    #[ignore = "needs a network"]
    fn ignored() {}

    #[ignore]
    #[test]
    fn also_ignored() {}

    #[tokio::test(flavor = "multi_thread")]
    #[cfg_attr(miri, ignore)]
    async fn later() {}

    #[rstest]
    #[case(1)]
    #[case(2)]
    fn rows(#[case] value: u8) {}

    #[bench]
    fn fast(b: &mut Bencher) {}

    fn helper() {}

    mod deeper {
        #[test]
        fn deep() {}
    }

    macro_rules! check {
        ($name:ident, $value:expr) => {
            #[test]
            fn $name() { assert!($value) }
        };
    }
    check!(first, true);
    check!(second, true);
    vec!(first, true);

    proptest! {
        #[test]
        fn holds(value in 0..10) { assert!(value < 10) }
    }
}
"""


def test_rust_tests_with_ignored_asynchronous_parameterised_and_made_by_macros() -> None:
    report = analysed({"src/lib.rs": RUST})
    assert counts(report, Framework.CARGO) == {
        "files": 1,
        "suites": 2,
        "cases": 10,
        "benchmarks": 1,
        "parameterised": 2,
        "skipped": 2,
        "conditional": 1,
    }
    assert {"tests > first", "tests > holds", "tests > deeper > deep"} <= set(names(report))
    assert [(mark.name, mark.reason) for mark in report.skipped.shown] == [
        ("tests > ignored", "needs a network"),
        ("tests > also_ignored", None),
    ]


def test_a_macro_of_another_file_counts_if_its_name_says_test() -> None:
    report = analysed({"tests/a.rs": "rgtest!(one, |dir| { });\nother!(two, |dir| { });\n"})
    assert names(report) == ["one"]
