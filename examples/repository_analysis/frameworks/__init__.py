"""The test frameworks that are understood; every module here has the same plan.

`FRAMEWORKS` names them, `SUFFIXES` are the files to read, `might_have_tests(path, data, project)` is a cheap
look that saves parsing, and `find_tests(source)` is a pure function from a parsed file to its tests.
"""

from pathlib import PurePosixPath
from typing import Protocol

from examples.repository_analysis.found import Source, Tests
from examples.repository_analysis.frameworks import cargo, golang, javascript, junit, python, rspec
from examples.repository_analysis.models import Framework
from examples.repository_analysis.projects import Project


class Finder(Protocol):
    """What a module of a framework family offers."""

    @property
    def FRAMEWORKS(self) -> tuple[Framework, ...]:  # noqa: N802 - a module's constant
        """Every framework its tests can belong to."""
        ...

    @property
    def SUFFIXES(self) -> tuple[str, ...]:  # noqa: N802
        """The ends of the names of its files."""
        ...

    def might_have_tests(self, path: str, data: bytes, project: Project) -> bool:
        """Whether the file is worth parsing."""
        ...

    def find_tests(self, source: Source) -> list[Tests]:
        """The tests of a parsed file, by framework."""
        ...


FINDERS: tuple[Finder, ...] = (python, junit, golang, javascript, rspec, cargo)
_BY_SUFFIX = {suffix: finder for finder in FINDERS for suffix in finder.SUFFIXES}


def finder_of(path: str) -> Finder | None:
    """The module that understands a file, by the end of its name."""
    return _BY_SUFFIX.get(PurePosixPath(path).suffix)
