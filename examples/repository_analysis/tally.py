"""From suites and cases to counts and lists; pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from examples.repository_analysis.found import Case, Kind, Marked, Skip, Suite, Tests
from examples.repository_analysis.models import (
    DirectoryTally,
    FoundCase,
    Framework,
    FrameworkTally,
    Mark,
    Marks,
    Tally,
)

_JOINED = " > "
_COUNTED_AS = {
    Kind.TEST: "cases",
    Kind.SUBTEST: "subtests",
    Kind.BENCHMARK: "benchmarks",
    Kind.FUZZ: "fuzz_tests",
    Kind.EXAMPLE: "examples",
}


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a case takes over from the suites around it."""

    names: tuple[str, ...] = ()
    skip: Skip = Skip.NEVER
    focused: bool = False
    parameterised: bool = False
    expected_to_fail: bool = False

    def below(self, suite: Suite) -> "_Inherited":
        return _Inherited(
            names=(*self.names, suite.name) if suite.name else self.names,
            skip=_stronger(self.skip, suite.skip),
            focused=self.focused or suite.focused,
            parameterised=self.parameterised or suite.parameterised,
            expected_to_fail=self.expected_to_fail or suite.expected_to_fail,
        )

    def named(self, name: str) -> str:
        return _JOINED.join((*self.names, name)) if name else _JOINED.join(self.names) or "the whole file"


def _stronger(one: Skip, other: Skip) -> Skip:
    return max(one, other, key=list(Skip).index)


@dataclass(slots=True)
class Counts:
    """The tests of all the files so far; lists are complete up to `most` entries."""

    most: int
    include_cases: bool
    total: Tally = field(default_factory=Tally)
    _frameworks: dict[Framework, Tally] = field(default_factory=lambda: defaultdict(Tally))
    _directories: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    _frameworks_in: dict[str, set[Framework]] = field(default_factory=lambda: defaultdict(set))
    _focused: Marks = field(default_factory=Marks)
    _skipped: Marks = field(default_factory=Marks)
    _conditional: Marks = field(default_factory=Marks)
    _cases: list[FoundCase] = field(default_factory=list)

    def add(self, path: str, found: list[Tests]) -> bool:
        """Count the tests of one file; whether there were any."""
        found = [tests for tests in found if next(tests.suite.every_case(), None) is not None]
        directory = str(PurePosixPath(path).parent)
        for tests in found:
            tallies = (self.total, self._frameworks[tests.framework], self._directories[directory])
            # A file with tests of two frameworks is one file of its directory and of the whole.
            for tally in tallies if tests is found[0] else (self._frameworks[tests.framework],):
                tally.files += 1
            self._frameworks_in[directory].add(tests.framework)
            self._add_suites(path, tests, tallies)
        return bool(found)

    def _add_suites(self, path: str, tests: Tests, tallies: tuple[Tally, ...]) -> None:
        pending = [(tests.suite, _Inherited())]
        while pending:
            suite, above = pending.pop()
            if next(suite.every_case(), None) is None:
                continue
            for tally in tallies if suite.name else ():
                tally.suites += 1
            self._mark(path, tests.framework, suite, above.named(suite.name))
            here = above.below(suite)
            for case in suite.cases:
                self._add_case(path, tests.framework, case, here, tallies)
            pending.extend((below, here) for below in reversed(suite.suites))

    def _add_case(
        self, path: str, framework: Framework, case: Case, above: _Inherited, tallies: tuple[Tally, ...]
    ) -> None:
        skip = _stronger(case.skip, above.skip)
        focused = case.focused or above.focused
        parameterised = case.parameterised or above.parameterised
        for tally in tallies:
            counted = _COUNTED_AS[case.kind]
            setattr(tally, counted, getattr(tally, counted) + 1)
            tally.skipped += skip is Skip.ALWAYS
            tally.conditional += skip is Skip.SOMETIMES
            tally.focused += focused
            tally.parameterised += parameterised
            tally.expected_to_fail += case.expected_to_fail or above.expected_to_fail
        name = above.named(case.name)
        self._mark(path, framework, case, name)
        if self.include_cases:
            self._cases.append(
                FoundCase(
                    path=path,
                    line=case.line,
                    framework=framework,
                    kind=case.kind,
                    name=name,
                    skipped=skip is Skip.ALWAYS,
                    conditional=skip is Skip.SOMETIMES,
                    focused=focused,
                    parameterised=parameterised,
                )
            )

    def _mark(self, path: str, framework: Framework, marked: Marked, name: str) -> None:
        """List a suite or case that is itself skipped or focused."""
        for marks, applies in (
            (self._focused, marked.focused),
            (self._skipped, marked.skip is Skip.ALWAYS),
            (self._conditional, marked.skip is Skip.SOMETIMES),
        ):
            if not applies:
                continue
            marks.total += 1
            if len(marks.shown) < self.most:
                marks.shown.append(
                    Mark(
                        path=path,
                        line=marked.line,
                        framework=framework,
                        name=name,
                        cases=sum(1 for _ in marked.every_case()) if isinstance(marked, Suite) else 1,
                        reason=None if marks is self._focused else marked.reason,
                    )
                )

    def frameworks(self) -> list[FrameworkTally]:
        """The tally of each framework, most cases first."""
        ordered = sorted(self._frameworks.items(), key=_most_cases)
        return [FrameworkTally(framework=framework, **tally.model_dump()) for framework, tally in ordered]

    def directories(self) -> tuple[list[DirectoryTally], int]:
        """The tallies of the directories with most cases, and the number of all of them."""
        ordered = sorted(self._directories.items(), key=_most_cases)
        shown = [
            DirectoryTally(directory=directory, frameworks=sorted(self._frameworks_in[directory]), **tally.model_dump())
            for directory, tally in ordered[: self.most]
        ]
        return shown, len(ordered)

    def marks(self) -> tuple[Marks, Marks, Marks]:
        """What is focused, what is skipped, and what is skipped sometimes."""
        return self._focused, self._skipped, self._conditional

    def cases(self) -> list[FoundCase] | None:
        """Every case, if they were wanted."""
        return self._cases if self.include_cases else None


def _most_cases(item: tuple[str, Tally]) -> tuple[int, str]:
    name, tally = item
    return -(tally.cases + tally.subtests + tally.benchmarks + tally.fuzz_tests + tally.examples), name
