"""The payload and the result of `repository.analyse`."""

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from examples.repository_analysis.address import check_ref, parse_address

MIB = 1024 * 1024


class Framework(StrEnum):
    """What runs a test."""

    PYTEST = "pytest"
    UNITTEST = "unittest"
    JUNIT4 = "JUnit 4"
    JUNIT5 = "JUnit 5"
    TESTNG = "TestNG"
    GO = "Go testing"
    JEST = "Jest"
    VITEST = "Vitest"
    MOCHA = "Mocha"
    JAVASCRIPT = "JavaScript, other"
    RSPEC = "RSpec"
    CARGO = "Cargo"


class AnalyseRepository(BaseModel):
    """Which repository to analyse, at which commit, and how much of it at most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str = Field(
        min_length=1,
        max_length=2048,
        description="A path on the worker's machine (the top of a checkout, or a bare repository) or a URL:"
        " https://, ssh://, git@host:path or file://.",
        examples=["https://github.com/pallets/flask", "/srv/checkouts/flask"],
    )
    ref: str = Field(
        default="HEAD",
        min_length=1,
        max_length=255,
        description="Branch, tag or commit; of a URL, a commit is its full 40 digits.",
    )
    max_files: int = Field(default=100_000, ge=1, le=1_000_000, description="Files in the commit.")
    max_bytes: int = Field(
        default=512 * MIB,
        ge=1,
        le=8192 * MIB,
        description="Bytes to read in total, and bytes to fetch from a remote.",
    )
    max_file_bytes: int = Field(
        default=MIB,
        ge=1,
        le=64 * MIB,
        description="Bytes of one file; a larger one is left out and listed.",
    )
    fetch_timeout: float = Field(default=300.0, gt=0, le=3600, description="Seconds a remote may take.")
    max_listed: int = Field(
        default=50, ge=0, le=1000, description="Entries in each list of the report; the totals are complete."
    )
    include_cases: bool = Field(default=False, description="Also list every single case in the report.")

    @model_validator(mode="after")
    def _safe_for_git(self) -> Self:
        parse_address(self.repository)
        check_ref(self.ref)
        return self


class Tally(BaseModel):
    """How many tests of each sort; a parameterised test counts once."""

    files: int = Field(default=0, description="Files with at least one test.")
    suites: int = Field(default=0, description="Classes, describe blocks, modules: whatever groups tests.")
    cases: int = Field(default=0, description="Tests, without subtests, benchmarks, fuzz tests and examples.")
    subtests: int = Field(default=0, description="Calls of t.Run inside a Go test.")
    benchmarks: int = 0
    fuzz_tests: int = 0
    examples: int = Field(default=0, description="Go's Example functions.")
    parameterised: int = Field(default=0, description="Cases and subtests that run once for each row of data.")
    skipped: int = Field(default=0, description="Cases that never run.")
    conditional: int = Field(default=0, description="Cases skipped on some platforms or settings only.")
    expected_to_fail: int = 0
    focused: int = Field(default=0, description="Cases marked as the only ones to run.")


class FrameworkTally(Tally):
    """The tests of one framework."""

    framework: Framework


class DirectoryTally(Tally):
    """The tests directly in one directory."""

    directory: str = Field(description="Relative to the top of the repository; `.` is the top itself.")
    frameworks: list[Framework]


class Place(BaseModel):
    """Where something was found."""

    path: str
    line: int = Field(ge=1)


class Mark(Place):
    """A suite or case that somebody skipped or focused."""

    framework: Framework
    name: str = Field(description="Names of the suites around it and its own, joined by ` > `.")
    cases: int = Field(description="Cases the mark applies to: 1, or the number inside the suite.")
    reason: str | None = Field(default=None, description="Why, where the source says so.")


class FoundCase(Place):
    """One test case, as listed on request."""

    framework: Framework
    kind: str
    name: str
    skipped: bool
    conditional: bool
    focused: bool
    parameterised: bool


class Problem(BaseModel):
    """A file that was not, or not completely, understood."""

    path: str
    problem: str


class Marks(BaseModel):
    """The first of all the marks of a sort, and how many there are."""

    total: int = 0
    shown: list[Mark] = []


class Problems(BaseModel):
    """The first of all the problems, and how many there are."""

    total: int = 0
    shown: list[Problem] = []


class Report(BaseModel):
    """The tests of one repository at one commit."""

    repository: str = Field(description="As submitted, without credentials.")
    ref: str
    commit: str = Field(description="The commit's full hash.")
    committed_at: datetime | None = None
    subject: str = Field(default="", description="First line of the commit's message.")
    files: int = Field(description="Files in the commit.")
    sources: int = Field(description="Files in a language that is understood; these were read.")
    parsed: int = Field(description="Of these, files that might have tests; these were parsed.")
    bytes_read: int
    seconds: float = Field(description="From start to report, the fetch included.")
    total: Tally
    frameworks: list[FrameworkTally] = Field(description="Most cases first.")
    directories: list[DirectoryTally] = Field(description="Most cases first, at most `max_listed`.")
    directories_total: int
    focused: Marks = Field(description="Usually left behind by mistake: nothing else runs beside them.")
    skipped: Marks = Field(description="What never runs.")
    conditional: Marks = Field(description="What is skipped on some platforms or settings only.")
    problems: Problems = Field(description="Files that could not be read or parsed (completely).")
    cases: list[FoundCase] | None = Field(default=None, description="Every case, if `include_cases`.")
