"""What a framework finds in one file: suites and cases, before anything is counted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from tree_sitter import Node

from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project


class Kind(StrEnum):
    """What sort of case it is."""

    TEST = "test"
    SUBTEST = "subtest"
    BENCHMARK = "benchmark"
    FUZZ = "fuzz test"
    EXAMPLE = "example"


class Skip(StrEnum):
    """Whether a case runs; ordered, a later one outweighs an earlier one."""

    NEVER = "never"
    SOMETIMES = "sometimes"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file."""

    path: str
    data: bytes
    """UTF-8, as it was parsed."""
    root: Node
    project: Project


@dataclass(slots=True)
class Marked:
    """What a suite and a case have in common."""

    name: str
    line: int
    skip: Skip = Skip.NEVER
    reason: str | None = None
    focused: bool = False
    parameterised: bool = False
    expected_to_fail: bool = False

    def skip_as(self, skip: Skip, reason: str | None = None) -> None:
        """Remember the strongest skip and the reason that came with it."""
        if skip is Skip.ALWAYS or self.skip is Skip.NEVER:
            self.skip = skip
            self.reason = reason or self.reason


@dataclass(slots=True)
class Case(Marked):
    """One test."""

    kind: Kind = Kind.TEST


@dataclass(slots=True)
class Suite(Marked):
    """A group of tests; the suite of a whole file has an empty name and is not counted as one."""

    cases: list[Case] = field(default_factory=list)
    suites: list["Suite"] = field(default_factory=list)

    def every_case(self) -> Iterator[Case]:
        """The cases of this suite and of all below it."""
        pending = [self]
        while pending:
            suite = pending.pop()
            yield from suite.cases
            pending.extend(suite.suites)


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of one framework in one file."""

    framework: Framework
    suite: Suite


def whole_file() -> Suite:
    """The unnamed suite a file's top-level cases belong to."""
    return Suite("", 1)
