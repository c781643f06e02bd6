"""What a repository's own settings say about its tests: package.json, runner settings, pytest's options."""

import configparser
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from examples.repository_analysis.models import Framework

_RUNNER_FILES = {
    re.compile(r"vitest\.(config|workspace)\.\w+"): Framework.VITEST,
    re.compile(r"jest\.config\.\w+"): Framework.JEST,
    re.compile(r"\.mocharc(\.\w+)?"): Framework.MOCHA,
}
_RUNNER_PACKAGES = {
    "vitest": Framework.VITEST,
    "jest": Framework.JEST,
    "react-scripts": Framework.JEST,
    "@jest/globals": Framework.JEST,
    "mocha": Framework.MOCHA,
}
_SCRIPT = re.compile(r"\b(vitest|jest|mocha|react-scripts)\b")
_PYTEST_FILES = {"pyproject.toml", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg"}


@dataclass(frozen=True, slots=True)
class Project:
    """The settings that hold in one directory and, where nothing else is said, below it."""

    javascript: Framework | None = None
    python_files: tuple[str, ...] = ("test_*.py", "*_test.py")
    python_classes: tuple[str, ...] = ("Test",)
    python_functions: tuple[str, ...] = ("test",)


@dataclass(slots=True)
class Projects:
    """Every directory's settings; `of` gives those of a file."""

    _runners: dict[PurePosixPath, Framework] = field(default_factory=dict)
    _pytest: dict[PurePosixPath, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    _known: dict[PurePosixPath, Project] = field(default_factory=dict)

    def of(self, path: str) -> Project:
        """The settings for the file at that path: of each sort, the nearest."""
        directory = PurePosixPath(path).parent
        if directory not in self._known:
            upwards = (directory, *directory.parents)
            self._known[directory] = replace(
                Project(),
                javascript=next((self._runners[above] for above in upwards if above in self._runners), None),
                **next((self._pytest[above] for above in upwards if above in self._pytest), {}),
            )
        return self._known[directory]


def is_setting(path: str) -> bool:
    """Whether a file says something about tests, so that it has to be read before the sources."""
    name = PurePosixPath(path).name
    return name == "package.json" or name in _PYTEST_FILES or _runner_file(name) is not None


def read_projects(settings: Mapping[str, bytes]) -> Projects:
    """Make sense of settings files, given by path; a malformed one says nothing."""
    projects = Projects()
    # package.json first, so that a runner's own file outweighs package.json in the same directory.
    for path, data in sorted(settings.items(), key=lambda item: not item[0].endswith("package.json")):
        place = PurePosixPath(path)
        runner = _package_runner(data) if place.name == "package.json" else _runner_file(place.name)
        if runner is not None:
            projects._runners[place.parent] = runner  # noqa: SLF001 - built here, read there
        if place.name in _PYTEST_FILES and (options := _pytest_options(place.name, data)):
            projects._pytest[place.parent] = options  # noqa: SLF001
    return projects


def _runner_file(name: str) -> Framework | None:
    return next((runner for pattern, runner in _RUNNER_FILES.items() if pattern.fullmatch(name)), None)


def _package_runner(data: bytes) -> Framework | None:
    """The runner a package.json names: in its scripts, as a section, or among its dependencies."""
    try:
        package = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(package, dict):
        return None
    scripts = _table(package, "scripts")
    for name in sorted(scripts, key=lambda name: (name != "test", not name.startswith("test"), name)):
        if name.startswith("test") and (match := _SCRIPT.search(str(scripts[name]))):
            return _RUNNER_PACKAGES[match[1]]
    dependencies = _table(package, "dependencies") | _table(package, "devDependencies")
    named = set(package) & {"jest", "mocha"} | set(dependencies)
    return next((runner for key, runner in _RUNNER_PACKAGES.items() if key in named), None)


def _table(package: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = package.get(key)
    return value if isinstance(value, dict) else {}


def _pytest_options(name: str, data: bytes) -> dict[str, tuple[str, ...]]:
    text = data.decode(errors="replace")
    try:
        if name == "pyproject.toml":
            tool = tomllib.loads(text).get("tool", {}).get("pytest", {})
            options: Mapping[str, Any] = tool.get("ini_options", tool)
        else:
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            parser.read_string(text)
            section = "tool:pytest" if name == "setup.cfg" else "pytest"
            options = dict(parser[section]) if parser.has_section(section) else {}
    except (ValueError, AttributeError, configparser.Error, RecursionError):
        return {}
    keys = ("python_files", "python_classes", "python_functions")
    return {key: words for key in keys if (words := _words(options.get(key)))}


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(str(word) for word in value) if isinstance(value, list) else ()
