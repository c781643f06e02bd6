"""From the files of a repository to a report; pure: bytes in, report out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from examples.repository_analysis.found import Source
from examples.repository_analysis.frameworks import finder_of
from examples.repository_analysis.languages import parse, to_utf8
from examples.repository_analysis.models import AnalyseRepository, Problem, Problems, Report
from examples.repository_analysis.projects import Projects, is_setting, read_projects
from examples.repository_analysis.tally import Counts

OTHERS = {"node_modules", "vendor", "third_party", "site-packages", ".venv", "venv", "bower_components"}
"""Directories that hold other people's code."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a report says about the commit it is of."""

    repository: str
    hash: str
    files: int
    committed_at: datetime | None = None
    subject: str = ""


def is_source(path: str) -> bool:
    """Whether a file can have tests: in a language that is understood, and the repository's own."""
    return finder_of(path) is not None and OTHERS.isdisjoint(PurePosixPath(path).parts)


def is_wanted_first(path: str) -> bool:
    """Whether a file has settings that decide how others are read."""
    return is_setting(path) and OTHERS.isdisjoint(PurePosixPath(path).parts)


@dataclass(slots=True)
class Analysis:
    """An analysis in progress: settings first, then each file once, then the report."""

    request: AnalyseRepository
    _counts: Counts = field(init=False)
    _problems: Problems = field(default_factory=Problems)
    _projects: Projects = field(default_factory=Projects)
    _sources: int = 0
    _parsed: int = 0
    _bytes_read: int = 0

    def __post_init__(self) -> None:
        self._counts = Counts(self.request.max_listed, self.request.include_cases)

    def add_settings(self, settings: Mapping[str, bytes]) -> None:
        """Take in the files `is_wanted_first` named, by path."""
        self._projects = read_projects(settings)

    def add_problem(self, path: str, problem: str) -> None:
        """List a file that cannot be read."""
        self._problems.total += 1
        if len(self._problems.shown) < self.request.max_listed:
            self._problems.shown.append(Problem(path=path, problem=problem))

    def add(self, path: str, data: bytes) -> None:
        """Find the tests of one file; a file nobody can make sense of becomes a problem, never an error."""
        self._sources += 1
        self._bytes_read += len(data)
        try:
            self._find(path, data)
        except Exception as error:  # noqa: BLE001 - one odd file must not cost the report of all the others
            self.add_problem(path, f"not understood: {type(error).__name__}")

    def _find(self, path: str, data: bytes) -> None:
        finder = finder_of(path)
        project = self._projects.of(path)
        if finder is None:
            return
        text, oddity = to_utf8(data)
        if not finder.might_have_tests(path, text, project):
            if oddity == "binary":
                self.add_problem(path, oddity)
            return
        tree, broken = parse(path, text)
        self._parsed += 1
        self._counts.add(path, finder.find_tests(Source(path, text, tree.root_node, project)))
        problems = [oddity] if oddity else []
        if broken is not None:
            problems.append(f"line {broken} is not understood, the rest is")
        if problems:
            self.add_problem(path, "; ".join(problems))

    def report(self, commit: Commit, seconds: float) -> Report:
        """The report of everything added."""
        directories, directories_total = self._counts.directories()
        focused, skipped, conditional = self._counts.marks()
        return Report(
            repository=commit.repository,
            ref=self.request.ref,
            commit=commit.hash,
            committed_at=commit.committed_at,
            subject=commit.subject,
            files=commit.files,
            sources=self._sources,
            parsed=self._parsed,
            bytes_read=self._bytes_read,
            seconds=round(seconds, 3),
            total=self._counts.total,
            frameworks=self._counts.frameworks(),
            directories=directories,
            directories_total=directories_total,
            focused=focused,
            skipped=skipped,
            conditional=conditional,
            problems=self._problems,
            cases=self._counts.cases(),
        )


def analyse_files(request: AnalyseRepository, files: Iterable[tuple[str, bytes]], commit: Commit) -> Report:
    """The report of files that are all at hand: what the tests and other programs use."""
    analysis = Analysis(request)
    everything = dict(files)
    analysis.add_settings({path: data for path, data in everything.items() if is_wanted_first(path)})
    for path, data in everything.items():
        if is_source(path):
            analysis.add(path, data)
    return analysis.report(commit, 0.0)
